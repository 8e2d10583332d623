// The event stream, and what keeps it alive: an ssh tunnel or a phone's link may go without anybody being told, so silence counts as
// a break as well as an error does. After a break it is opened anew until it works; the server then begins with everything.

/** A state comes every second. After this much silence the figures count as old; after
 * this much, or once it has ended, the stream is opened anew; in ms. */
const SILENCE = 4000;
const PATIENCE = 10000;

/**
 * Follows the stream at `url`: each event's data goes to `events[name]`, and `broken()` is called when it is silent or ends.
 */
export function follow(url, events, broken) {
  let source = null;
  /** When it was last opened or heard, by this machine's clock, in ms. */
  let alive = 0;

  function open() {
    source?.close();
    source = new EventSource(url);
    alive = Date.now();
    for (const [name, take] of Object.entries(events)) {
      source.addEventListener(name, (event) => {
        alive = Date.now();
        take(JSON.parse(event.data));
      });
    }
    source.onerror = () => {
      source.close();
      // Nothing to wait for.
      alive = 0;
      broken();
    };
  }

  function listen() {
    const silence = Date.now() - alive;
    if (silence >= SILENCE) broken();
    if (silence >= PATIENCE) open();
  }

  open();
  setInterval(listen, 1000);
  // A page in the background is hardly woken: look at once when it is looked at.
  document.addEventListener("visibilitychange", listen);
}
