// States: of jobs, models and workers, each with its colour; the word is always there too.

import { h } from "./dom.js";

const KINDS = {
  ready: "good", loaded: "good", done: "good", completed: "good", live: "good",
  running: "accent", loading: "accent", leased: "accent", first_text: "accent",
  waiting: "", queued: "", scheduled: "warn", unloaded: "", sleeping: "", retried: "warn", released: "warn", requeued: "warn", quiet: "warn",
  failed: "bad", lost: "bad", cancelled: "", expired: "bad", revoked: "bad",
};

export function badge(state) {
  return h("span", { class: `badge ${KINDS[state] ?? ""}` }, state.replaceAll("_", " "));
}
