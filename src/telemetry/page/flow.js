// The picture of the flow: broker, queue and Firehose, each with its state in a mark and in words, and the two arrows between them.

import { count, span } from "./format.js";
import { mark, say } from "./figures.js";
import { isFull, streamIs } from "./verdict.js";

const plural = (n, one, many) => (n === 1 ? one : many);

/** One node or arrow: its mark, and the words in its `.says`. */
function show(id, level, words) {
  const part = document.getElementById(id);
  mark(part, level);
  say(part.querySelector(".says"), words);
  return part;
}

/** An arrow moves where records do, is broken where they cannot. `words` say why. */
function arrow(id, rate, level, words) {
  const part = show(id, level, words);
  part.classList.toggle("moving", rate > 0);
}

export function showFlow(state) {
  const { broker, streams, disk, rates } = state;
  const held = broker.since ? ` for ${span(state.now - broker.since)}` : "";
  show("broker", broker.connected ? "well" : "bad", (broker.connected ? "connected" : "away") + held)
    .querySelector(".mqtt").hidden = !broker.connected;

  const full = streams.filter(isFull);
  const fullest = streams.reduce((a, b) => (a && a.queued / a.bound >= b.queued / b.bound ? a : b), null);
  const queue = disk?.fault ? ["bad", "the disk cannot be written"]
    : full.length ? ["bad", streams.length === 1 ? "full" : `${count(full.length)} of ${count(streams.length)} full`]
    : fullest && streamIs({ ...fullest, trouble: null })[0] === "warn" ? ["warn", `${fullest.name} is nearly full`]
    : state.totals.held ? ["well", fullest && streams.length > 1 ? `fullest: ${fullest.name}` : "has room"] : ["idle", "empty"];
  say(show("queue", ...queue).querySelector(".where"), disk ? "on disk" : "in memory");
  say(document.querySelector("#queue .records"), plural(state.totals.held, "record", "records"));

  const blocked = disk?.fault || broker.reading_paused;
  arrow("coming", rates.received, !broker.connected || blocked ? "bad" : rates.received ? "well" : "idle",
    !broker.connected ? "cut" : blocked ? "paused" : rates.received ? "" : "nothing comes in");

  const troubled = streams.filter((stream) => stream.trouble).length;
  const all = troubled === streams.length;
  const firehose = !streams.length ? ["idle", "no streams yet"]
    : troubled ? [all ? "bad" : "warn", streams.length === 1 ? "in trouble" : `${count(troubled)} of ${count(streams.length)} streams in trouble`]
    : ["well", streams.length === 1 ? streams[0].name : `${count(streams.length)} streams, all well`];
  show("firehose", ...firehose);
  arrow("going", rates.delivered, troubled && !rates.delivered ? "bad" : troubled ? "warn" : rates.delivered ? "well" : "idle",
    troubled && !rates.delivered ? "stands still" : troubled ? "in part" : rates.delivered ? "" : state.totals.held ? "waits to be sent" : "nothing to send");
}
