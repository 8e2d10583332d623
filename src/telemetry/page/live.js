// The event stream, and what keeps it alive: an ssh tunnel or a phone's link may go without anybody being told, so silence counts as
// a break as well as an error does. After a break it is opened anew until it works; the server then begins with everything.

/** A state comes every second. After this much silence the figures count as old, in ms. */
const SILENCE = 4000;
/** How long a new attempt may take before the next begins, and the pause after one that failed, in ms. */
const PATIENCE = 10000;
const PAUSE = 1500;

/**
 * Follows the stream at `url`: each event's data goes to `events[name]`, and `broken()` is called when it is silent or ends.
 */
export function follow(url, events, broken) {
  let source = null;
  let opened = 0;
  let heard = 0;
  let retry = 0;

  function open() {
    clearTimeout(retry);
    source?.close();
    source = new EventSource(url);
    opened = Date.now();
    for (const [name, take] of Object.entries(events)) {
      source.addEventListener(name, (event) => {
        heard = Date.now();
        take(JSON.parse(event.data));
      });
    }
    source.onerror = () => {
      source.close();
      broken();
      clearTimeout(retry);
      retry = setTimeout(open, PAUSE);
    };
  }

  function listen() {
    const now = Date.now();
    if (now - Math.max(heard, opened) < SILENCE) return;
    broken();
    if (now - Math.max(heard, opened) >= PATIENCE) open();
  }

  open();
  setInterval(listen, 1000);
  // A page in the background is not woken each second: look at once when it is looked at.
  document.addEventListener("visibilitychange", listen);
}
