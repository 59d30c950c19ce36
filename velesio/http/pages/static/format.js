// Format: numbers, times and sizes as people read them.

const WHOLE = new Intl.NumberFormat("en");

export function count(value) {
  return WHOLE.format(value ?? 0);
}

export function rate(value) {
  if (!value) return "0";
  return value >= 100 ? count(Math.round(value)) : String(Number(value.toFixed(value >= 10 ? 1 : 2)));
}

export function bytes(value) {
  if (!value) return "0 B";
  const at = Math.min(Math.floor(Math.log(value) / Math.log(1000)), 4);
  const scaled = value / 1000 ** at;
  return `${at && scaled < 100 ? scaled.toFixed(1) : Math.round(scaled)} ${["B", "kB", "MB", "GB", "TB"][at]}`;
}

// A length of time in milliseconds.
export function lasted(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return "< 1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return seconds < 86400 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}

// The time of day, with the date if that is another one, and the year if it is not this one; unix seconds.
export function clock(at) {
  if (!at) return "–";
  const date = new Date(at * 1000);
  const now = new Date();
  const time = date.toLocaleTimeString("en-GB");
  if (date.toDateString() === now.toDateString()) return time;
  const year = date.getFullYear() === now.getFullYear() ? {} : { year: "numeric" };
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short", ...year })} ${time}`;
}

export function day(at) {
  return at ? new Date(at * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" }) : "–";
}
