// The table of streams: one row each, made from a template and kept as long as its stream is there. Whoever is in trouble
// comes first.

import { fill, mark, say } from "./figures.js";
import { isFull, streamIs } from "./verdict.js";
import { count } from "./format.js";

/** Rows by ARN. */
const rows = new Map();

function row(stream) {
  let row = rows.get(stream.arn);
  if (!row) {
    row = document.getElementById("stream").content.firstElementChild.cloneNode(true);
    say(row.querySelector(".name"), stream.name);
    row.querySelector("summary").title = stream.arn;
    say(row.querySelector(".arn"), stream.arn);
    row.querySelector(".meter").setAttribute("aria-label", `Queue of ${stream.name}`);
    rows.set(stream.arn, row);
  }
  return row;
}

function show(stream, index, state) {
  const element = row(stream);
  fill(element, state, `streams.${index}.`);
  element.querySelector(".default").hidden = !stream.default;
  const [level, word] = streamIs(stream);
  mark(element.querySelector("th"), level);
  element.querySelector("svg.mark").setAttribute("aria-label", word);

  const { trouble } = stream;
  const below = element.querySelector(".trouble");
  below.hidden = !trouble;
  if (trouble) {
    say(below.querySelector(".code"), trouble.code);
    say(below.querySelector(".message"), trouble.message);
    say(below.querySelector(".advice"), trouble.advice ?? "");
  }
  return element;
}

const rank = (stream) => (stream.trouble ? 0 : isFull(stream) ? 1 : 2);

export function showStreams(state) {
  const { streams } = state;
  const table = document.querySelector("#streams table");
  document.getElementById("no-streams").hidden = streams.length > 0;
  table.parentElement.hidden = streams.length === 0;
  const order = streams.map((stream, index) => ({ element: show(stream, index, state), rank: rank(stream), index }));
  order.sort((a, b) => a.rank - b.rank || a.index - b.index);

  const known = new Set(streams.map(({ arn }) => arn));
  for (const [arn, element] of rows) {
    if (known.has(arn)) continue;
    element.remove();
    rows.delete(arn);
  }
  // Rows do not move under somebody's fingers: a row that has the focus would lose it.
  const busy = table.tBodies.length > 0 && table.contains(document.activeElement);
  order.forEach(({ element }, place) => {
    if (!element.isConnected || (!busy && table.tBodies[place] !== element)) {
      table.insertBefore(element, table.tBodies[place] ?? null);
    }
  });
  const troubled = streams.filter((stream) => stream.trouble).length;
  say(document.getElementById("streams-said"), troubled
    ? `${count(troubled)} of ${count(streams.length)} in trouble`
    : count(streams.length));
}
