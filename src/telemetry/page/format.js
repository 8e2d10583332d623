// How figures are written: one function per kind, pure. Units: bytes in powers of 1024, records in powers of 1000,
// clocks in UTC, as in the connector's log.

const exact = new Intl.NumberFormat("en");
export const NONE = "–";

/** 1,234,567: every digit, so that a person can check a sum. */
export const count = (n) => exact.format(n);

/** At most three digits that count, and a unit: 0.4, 12, 1.23 k. */
function short(n, base, units) {
  if (n > 0 && n < 0.05) return `<0.1${units[0]}`;
  let unit = 0;
  while (n >= base - 0.5 && unit < units.length - 1) {
    n /= base;
    unit += 1;
  }
  const digits = n >= 99.95 || Number.isInteger(n) ? 0 : unit > 0 && n < 9.995 ? 2 : n < 9.95 || unit > 0 ? 1 : 0;
  return n.toFixed(digits) + units[unit];
}

export const brief = (n) => short(n, 1000, ["", " k", " M", " G", " T"]);
export const bytes = (n) => short(n, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]);
export const ms = (n) => (n < 1000 ? `${short(n, 1e9, [""])} ms` : `${short(n / 1000, 1e9, [""])} s`);

/** A span of time in its two largest units. */
export function span(seconds) {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([length]) => s >= length);
  const [[large, name], small] = [parts[first], parts[first + 1]];
  const rest = Math.floor((s % large) / small[0]);
  return `${Math.floor(s / large)} ${name}` + (rest ? ` ${rest} ${small[1]}` : "");
}

/** 12:03:04, UTC. */
export const clock = (unix) => new Date(unix * 1000).toISOString().slice(11, 19);

/** The kinds that `data-as` may name. `now` is the device's clock. */
export const KINDS = {
  text: (v) => String(v),
  count,
  bytes,
  ms,
  age: span,
  rate: (v) => `${brief(v)}/s`,
  "byte-rate": (v) => `${bytes(v)}/s`,
  since: (v, now) => span(now - v),
  until: (v, now) => (v > now ? span(v - now) : `until the next call, which renews them (ended ${span(now - v)} ago)`),
};
