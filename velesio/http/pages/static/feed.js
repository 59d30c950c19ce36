// Feed: the whole installation, live. Connects again by itself, and begins anew with a snapshot.

import { get } from "./api.js";

const HOUR = 3600;

// Calls `seen(state, changed)` with the whole and the names of the sections that changed; `gone(error)` when it breaks.
export function follow(seen, gone = () => {}) {
  let state = null;
  let source = null;
  let wait = 500;
  let timer = 0;

  function connect() {
    clearTimeout(timer);
    source?.close();
    source = new EventSource("/admin/events");
    source.addEventListener("snapshot", (event) => {
      wait = 500;
      state = JSON.parse(event.data);
      seen(state, Object.keys(state));
    });
    source.addEventListener("change", (event) => {
      if (!state) return;
      const changed = JSON.parse(event.data);
      merge(state, changed);
      seen(state, Object.keys(changed));
    });
    source.addEventListener("error", lost);
  }

  async function lost() {
    source?.close();
    source = null;
    state = null;
    clearTimeout(timer);
    try {
      // Why: without a key the sign-in is next, without its scope a sentence.
      await get("/admin/queue");
    } catch (error) {
      gone(error);
      if (error.status === 403) return;
    }
    timer = setTimeout(connect, wait);
    wait = Math.min(wait * 1.6, 5000);
  }

  addEventListener("velesio:back", connect);
  connect();
}

function merge(state, { series, ...sections }) {
  Object.assign(state, sections);
  if (series) {
    const points = new Map(state.series.points.map((point) => [point.at, point]));
    for (const point of series.points) points.set(point.at, point);
    state.series = { ...series, points: [...points.values()].sort((a, b) => a.at - b.at) };
  }
  const oldest = state.at - HOUR;
  if (state.series.points[0]?.at < oldest) state.series.points = state.series.points.filter((point) => point.at >= oldest);
}
