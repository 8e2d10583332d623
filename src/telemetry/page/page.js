// The page's own course: a state comes in each second, and everything is shown anew from it; where none comes, the page says since
// when its figures are old. What comes from outside is put in as text only.

import { fill, mark, say } from "./figures.js";
import { showFlow } from "./flow.js";
import { clock, count, span } from "./format.js";
import { follow } from "./live.js";
import { showHistory, showPoint } from "./plots.js";
import { showStreams } from "./streams.js";
import { hint, problems, verdict } from "./verdict.js";

const element = (id) => document.getElementById(id);

/** The newest state, when it came by this machine's clock (ms), and whether the stream has broken since. */
let state = null;
let came = 0;
let old = false;
/** Why nothing is shown, where the server told. */
let full = "";

/** The shapes and colours of the marks once more, for the tab, where no style sheet reaches. */
const ICONS = {
  well: ["%231a7f37", "%3Ccircle cx='10' cy='10' r='9'/%3E", "M5.5 10.5l3 3 6-7"],
  idle: ["%2359636e", "%3Ccircle cx='10' cy='10' r='9'/%3E", "M6 10h8"],
  warn: ["%239a6700", "%3Cpath d='M10 1l9.5 17.5h-19z'/%3E", "M10 7v5.5M10 15v1"],
  bad: ["%23cf222e", "%3Cpath d='M6 1h8l5 5v8l-5 5H6l-5-5V6z'/%3E", "M6.5 6.5l7 7M13.5 6.5l-7 7"],
};

function headline(level, words) {
  say(element("headline"), words);
  if (element("top").classList.contains(level) && document.title.startsWith(words)) return;
  mark(element("top"), level);
  document.title = `${words} – ${state?.client_id ?? "kinesis-edge"}`;
  const [colour, shape, line] = ICONS[level];
  element("icon").href = `data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 20 20'%3E%3Cg fill='${colour}'%3E${shape}%3C/g%3E`
    + `%3Cpath d='${line}' fill='none' stroke='white' stroke-width='2'/%3E%3C/svg%3E`;
}

/** Makes a list as long as `items` and shows each of them; elements are kept, so that nothing flickers. */
function list(parent, items, make, show) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  while (parent.children.length < items.length) parent.append(make());
  items.forEach((item, i) => show(parent.children[i], item));
}

function showProblems(found) {
  element("problems").hidden = !found.length;
  const make = () => element("problem").content.firstElementChild.cloneNode(true);
  list(element("problems").querySelector("ul"), found, make, (li, problem) => {
    mark(li, problem.level);
    say(li.querySelector("h3"), problem.headline);
    // Alone, it is what the headline says already.
    li.querySelector("h3").hidden = found.length === 1;
    say(li.querySelector(".what"), problem.text);
    say(li.querySelector(".message"), problem.message ?? "");
    say(li.querySelector(".advice"), problem.advice);
  });
}

/** The sum under the totals: whether it is right. */
function showBalance({ received, delivered, failed, rejected, held }) {
  const off = received - delivered - failed - rejected - held;
  say(element("balance"), off ? `The two sides differ by ${count(Math.abs(off))}.` : "✓ Adds up: no record is unaccounted for.");
  element("balance").dataset.off = off;
}

function showCodes(id, path, codes) {
  element(id).hidden = !codes.length;
  const make = () => {
    const li = document.createElement("li");
    li.append(...["b", "span", "small"].map((name) => document.createElement(name)));
    return li;
  };
  list(element(id).querySelector("ul"), codes, make, (li, { code, records }) => {
    const [number, name, advice] = li.children;
    say(number, count(records));
    number.dataset.figure = `${path}.${codes.findIndex((other) => other.code === code)}.records`;
    number.dataset.value = JSON.stringify(records);
    say(name, code);
    say(advice, hint(code));
  });
}

/** A clock that is wrong makes Amazon refuse signatures, so it is told. */
function showClocks() {
  const off = state.now - came / 1000;
  element("clocks").hidden = Math.abs(off) < 60;
  say(element("clocks"), `The device's clock is ${span(Math.abs(off))} ${off < 0 ? "behind" : "ahead of"} this browser's. Amazon refuses calls whose clock is off by more than 5 min.`);
}

function show(next) {
  // The connector has been replaced by another version: so may this page.
  if (state && state.version !== next.version) return location.reload();
  state = next;
  came = Date.now();
  old = false;
  full = "";
  document.body.classList.remove("old");
  document.body.dataset.now = JSON.stringify(state.now);
  for (const id of ["top", "flow", "totals"]) fill(element(id), state);
  say(element("broker-since"), state.broker.connected ? "Connected for" : "Away for");
  const found = problems(state);
  const { level, headline: words } = verdict(state, found);
  headline(level, words);
  showProblems(found);
  showFlow(state);
  showStreams(state);
  showBalance(state.totals);
  showCodes("failed-codes", "failed_by_code", state.failed_by_code);
  showCodes("rejected-codes", "rejected_by_code", state.rejected_by_code);
  showClocks();
  tick();
}

/** The server shows as many pages as it does at a time; what follows is the end of the stream. */
function showFull(pages) {
  full = `${count(pages)} pages are open already, as many as there may be`;
}

function broken() {
  old = true;
  document.body.classList.toggle("old", state !== null);
  if (full && !state) headline("warn", full);
  else headline("bad", state ? `No connection to the connector since ${clock(state.now)} UTC` : "The connector cannot be reached");
  tick();
}

/** How fresh the figures are, each second. */
function tick() {
  const age = span((Date.now() - came) / 1000);
  if (old && state) say(element("age"), `All figures below are ${age} old. See whether the connector runs and the ssh tunnel stands; the page goes on trying.`);
  else if (old && full) say(element("age"), "Close one of them; the page goes on trying.");
  else if (old) say(element("age"), "See whether the connector runs and the ssh tunnel stands; the page goes on trying.");
  else if (state) say(element("age"), `Live. ${clock(state.now)} UTC by the device's clock`);
}

setInterval(() => old && tick(), 1000);
follow("events", { state: show, history: showHistory, point: showPoint, full: showFull }, broken);
