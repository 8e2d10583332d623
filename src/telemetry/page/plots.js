// The last hour in three plots, drawn by uPlot (a script of its own, global). They share the time axis and the cursor. What a plot shows stands as
// text in its legend: each series' value now, or under the cursor, and its least and greatest.

import { brief, clock, ms, NONE } from "./format.js";
import { at, say } from "./figures.js";

/** Most points kept: an hour at one each 5 s. */
const MOST = 720;
/** The least and the greatest span of the time axis, in seconds. */
const SPANS = [300, 3600];
const KEYS = ["t", "received", "delivered", "failed", "queued", "p50_ms", "p99_ms"];

const rate = (v) => `${brief(v)}/s`;
/** `unit` writes a value, `axis` a label; the axis reaches at least to `least`. */
const PLOTS = [
  { id: "throughput", unit: rate, axis: brief, least: 1, series: [
    { key: "received", label: "received", width: 4 }, { key: "delivered", label: "delivered", width: 1.5 }, { key: "failed", label: "failed", width: 2, dash: [2, 3] }] },
  { id: "depth", unit: brief, axis: brief, least: 10, series: [{ key: "queued", label: "held", width: 2 }] },
  { id: "latency", unit: ms, axis: ms, least: 10, series: [
    { key: "p50_ms", label: "median", width: 2 }, { key: "p99_ms", label: "99 % within", width: 2, dash: [6, 3] }] },
];

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
const data = Object.fromEntries(KEYS.map((key) => [key, []]));
/** What has been drawn: `{plot, figure, uplot, items}`. */
const drawn = [];

/** Wide enough for the largest label there is now. */
function labelWidth(uplot, labels, axis) {
  uplot.ctx.font = uplot.axes[axis].font[0];
  const widest = Math.max(...(labels ?? [""]).map((label) => uplot.ctx.measureText(label).width));
  return Math.ceil(widest / devicePixelRatio) + 14;
}

function options({ id, axis, least, series }, width) {
  const font = `12px ${css("--font")}`;
  const common = { stroke: () => css("--soft"), grid: { stroke: () => css("--line"), width: 1 }, ticks: { show: false }, font };
  return {
    width,
    height: 150,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "hour" }, drag: { x: false, y: false }, y: false, points: { size: 7 } },
    scales: {
      x: { range: (_, first, last) => [Math.min(Math.max(first, last - SPANS[1]), last - SPANS[0]), last] },
      // A flat line at nothing still has an axis.
      y: { range: (_, lowest, highest) => [0, Math.max(highest ?? 0, least) * 1.1] },
    },
    axes: [
      { ...common, space: 60, size: 26, values: (_, splits) => splits.map((t) => (data.t.length ? clock(t).slice(0, 5) : "")) },
      { ...common, space: 34, size: labelWidth, values: (_, splits) => splits.map(axis) },
    ],
    tzDate: (t) => uPlot.tzDate(new Date(t * 1000), "Etc/UTC"),
    series: [{}, ...series.map(({ width, dash }, i) => ({
      width, dash, stroke: () => css(`--${id}-${i}`), points: { show: (u) => u.data[0].length < 3 },
    }))],
    hooks: { setCursor: [(u) => readOut(drawn.find((d) => d.uplot === u))] },
  };
}

const columns = ({ series }) => [data.t, ...series.map(({ key }) => data[key])];

/** The legend: the values under the cursor, else the newest, and the range of the hour. */
function readOut(one) {
  if (!one) return;
  const { plot, figure, uplot, items } = one;
  const under = uplot.cursor.idx;
  const last = data.t.length - 1;
  say(figure.querySelector("time"), under == null || last < 0 ? "" : `at ${clock(data.t[under])}`);
  plot.series.forEach(({ key, label }, i) => {
    const values = data[key].filter((v) => v != null);
    const value = data[key][under ?? last];
    const range = values.length ? [Math.min(...values), Math.max(...values)] : null;
    const shown = value == null ? NONE : plot.unit(value) + (under == null ? " now" : "");
    const [said, figures] = items[i];
    say(said, `${label} `);
    for (const [name, raw, text] of [
      ["last", value, shown], ["min", range?.[0], range && `, ${plot.unit(range[0])}`], ["max", range?.[1], range && ` to ${plot.unit(range[1])}`],
    ]) {
      say(figures[name], text ?? "");
      if (under != null && name === "last") continue;
      figures[name].dataset.figure = `history.${key}.${name}`;
      figures[name].dataset.value = JSON.stringify(raw ?? null);
    }
  });
}

function item(plot, i, legend) {
  const element = legend.appendChild(document.createElement("li"));
  const swatch = element.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
  swatch.setAttribute("aria-hidden", "true");
  swatch.setAttribute("class", `swatch ${plot.id}-${i}`);
  const line = swatch.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  const { width, dash } = plot.series[i];
  for (const [name, value] of Object.entries({ d: "M0 6h22", "stroke-width": width, "stroke-dasharray": dash?.join(" ") ?? "none" })) line.setAttribute(name, value);
  const add = (name) => element.appendChild(document.createElement(name));
  return [add("span"), { last: add("b"), min: add("span"), max: add("span") }];
}

function draw(plot) {
  const figure = document.getElementById(plot.id);
  const canvas = figure.querySelector(".canvas");
  const legend = figure.querySelector(".legend");
  legend.id = `${plot.id}-said`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", figure.querySelector("figcaption").firstChild.data.trim());
  canvas.setAttribute("aria-describedby", legend.id);
  const items = plot.series.map((_, i) => item(plot, i, legend));
  const uplot = new uPlot(options(plot, canvas.clientWidth), columns(plot), canvas);
  drawn.push({ plot, figure, uplot, items });
  new ResizeObserver(() => {
    const width = canvas.clientWidth;
    if (width && width !== uplot.width) uplot.setSize({ width, height: uplot.height });
  }).observe(canvas);
}

function show() {
  if (!drawn.length) {
    PLOTS.forEach(draw);
    // Colours are read when a plot is drawn.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(({ uplot }) => uplot.redraw()));
  }
  for (const one of drawn) {
    one.uplot.setData(columns(one.plot));
    readOut(one);
  }
}

/** Takes the whole hour, in place of what was there. */
export function showHistory(history) {
  for (const key of KEYS) data[key] = history[key].slice(-MOST);
  show();
}

/** Takes one more point. */
export function showPoint(point) {
  if (data.t.length && point.t <= data.t.at(-1)) return;
  for (const key of KEYS) data[key] = [...data[key], at(point, key) ?? null].slice(-MOST);
  show();
}
