// Puts figures of the state into the elements that ask for them by `data-field`, `data-meter`, `data-if` or `data-mind`. Beside the
// written figure stands its path and exact value (`data-figure`, `data-value`), so that a program can compare.

import { KINDS, NONE, count } from "./format.js";

/** What stands at a path like `streams.0.queued`; undefined where nothing does. */
export const at = (state, path) => path.split(".").reduce((value, key) => value?.[key], state);

/** Changes an element's text only where it differs, so that a selection stays. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows one of the marks: well, idle, warn, bad. Colour and shape say the same. */
export function mark(element, level) {
  element.classList.remove("well", "idle", "warn", "bad");
  element.classList.add(level);
  element.querySelector("svg.mark use").setAttribute("href", `#mark-${level}`);
}

/** Writes one figure. */
export function figure(element, path, value, kind, now) {
  if (value === undefined) {
    delete element.dataset.figure;
    delete element.dataset.value;
  } else {
    element.dataset.figure = path;
    element.dataset.value = JSON.stringify(value);
  }
  say(element, value == null ? NONE : KINDS[kind](value, now));
}

/** Fills everything below `root`; `prefix` is where its paths begin: empty, or `streams.0.`. */
export function fill(root, state, prefix = "") {
  for (const element of root.querySelectorAll("[data-field]")) {
    const path = prefix + element.dataset.field;
    figure(element, path, at(state, path), element.dataset.as, state.now);
  }
  for (const element of root.querySelectorAll("[data-meter]")) {
    meter(element, at(state, prefix + element.dataset.meter), at(state, prefix + element.dataset.of));
  }
  for (const element of root.querySelectorAll("[data-if]")) {
    element.hidden = at(state, prefix + element.dataset.if) == null;
  }
  for (const element of root.querySelectorAll("[data-mind]")) {
    element.classList.toggle("mind", at(state, prefix + element.dataset.mind) > 0);
  }
}

function meter(element, value, bound) {
  if (value == null || !bound) return;
  const part = value / bound;
  element.setAttribute("aria-valuemin", "0");
  element.setAttribute("aria-valuemax", String(bound));
  element.setAttribute("aria-valuenow", String(Math.min(value, bound)));
  element.setAttribute("aria-valuetext", `${count(value)} of ${count(bound)}`);
  element.classList.toggle("full", part >= 1);
  element.classList.toggle("high", part >= 0.8 && part < 1);
  element.firstElementChild.style.width = `${Math.min(100, part * 100)}%`;
}
