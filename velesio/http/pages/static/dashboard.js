// Dashboard: what the whole installation does now and did in the last hour, and what an operator can do about it.

import "./frame.js";
import { post } from "./api.js";
import { Chart } from "./chart.js";
import { $, button, confirmed, empty, fill, h, say, toast } from "./dom.js";
import { follow } from "./feed.js";
import { bytes, clock, count, lasted, rate } from "./format.js";
import { JobList } from "./joblist.js";
import { Rows } from "./rows.js";
import { badge } from "./states.js";

const TILES = [
  ["Waiting", (state) => [count(state.queue.waiting), state.queue.waiting ? `oldest ${lasted(state.queue.oldest_seconds * 1000)}` : ""]],
  ["Running", (state) => [count(state.queue.running)]],
  ["Completed", (state) => [count(state.queue.completed)]],
  ["Failed", (state) => [count(state.queue.failed), state.queue.dead ? `${count(state.queue.dead)} kept` : ""]],
  ["Tokens/s", (state) => [rate(state.rates.tokens_per_s)]],
  ["Images/min", (state) => [rate(state.rates.images_per_min)]],
  ["First token", (state) => [lasted(state.rates.first_token_ms?.p50), "median"]],
  ["Latency", (state) => [lasted(state.rates.latency_ms?.p50), "median"]],
];

const CHARTS = [
  new Chart("Time to first token", times("first_token_ms"), { format: lasted }),
  new Chart("Tokens per second", [{ title: "Tokens/s", value: (point) => point.tokens_per_s, empty: 0 }], { format: rate }),
  new Chart("Images per minute", [{ title: "Images/min", value: (point) => point.images_per_min, empty: 0 }], { format: rate }),
  new Chart("Latency", times("latency_ms"), { format: lasted }),
];

function times(name) {
  return [["median", "p50"], ["p95", "p95"]].map(([title, part]) => ({ title, value: (point) => point[name]?.[part] ?? null, empty: null }));
}

const tiles = TILES.map(([title]) => {
  const value = h("span", {}, "–");
  const more = h("small");
  return { element: h("div", { class: "tile" }, h("dt", {}, title), h("dd", {}, value, " ", more)), value, more };
});
fill($("#tiles"), tiles.map((tile) => tile.element));
fill($("#charts"), CHARTS.map((chart) => chart.element));

const queues = new Rows($("#queues"), (model) => model.name, queueRow);
const workers = new Rows($("#workers"), (worker) => worker.id, workerRow);
const jobs = new JobList();
const pause = button("Pause all queues", () => act(pause.dataset.paused === "yes" ? "/admin/queue/resume" : "/admin/queue/pause", {},
  pause.dataset.paused === "yes" ? "All queues go on" : "Nothing more is begun; what runs goes on"), {});
$("#all").append(pause);

async function act(path, body, done) {
  try {
    await post(path, body);
    toast(done);
  } catch (error) {
    toast(error.message, "bad");
  }
}

function queueRow(first) {
  const cells = Object.fromEntries(["interactive", "normal", "batch", "running", "oldest", "completed", "failed"].map((name) => [name, h("td", { class: "number" })]));
  const state = h("td");
  const hold = button("Pause", () => act(`/admin/queue/${hold.dataset.paused === "yes" ? "resume" : "pause"}`, { model: first.name },
    hold.dataset.paused === "yes" ? `The queue of ${first.name} goes on` : `The queue of ${first.name} is paused`), { kind: "little", "aria-label": `Pause the queue of ${first.name}` });
  return {
    element: h("tr", {}, h("th", { scope: "row" }, h("span", { class: "clip" }, first.name)), state, Object.values(cells), h("td", { class: "actions" }, hold)),
    update(model) {
      fill(state, badge(model.state), model.paused ? h("span", { class: "badge warn" }, "paused") : null);
      const { interactive, normal, batch } = model.waiting;
      const told = { interactive, normal, batch, running: model.running, completed: model.completed, failed: model.failed };
      for (const [name, value] of Object.entries(told)) say(cells[name], count(value));
      say(cells.oldest, interactive + normal + batch ? lasted(model.oldest_seconds * 1000) : "–");
      hold.dataset.paused = model.paused ? "yes" : "no";
      say(hold, model.paused ? "Go on" : "Pause");
      hold.setAttribute("aria-label", `${hold.textContent}: ${model.name}`);
    },
  };
}

function meter(part, words) {
  const bar = h("span");
  bar.style.transform = `scaleX(${Math.min(Math.max(part, 0), 1)})`;
  return [h("span", { class: "meter", "aria-hidden": "true" }, bar), h("span", { class: "nowrap small" }, words)];
}

function workerRow(first) {
  const name = first.name || first.id;
  const [state, slots, memory, models, held] = Array.from({ length: 5 }, () => h("td"));
  const quiet = button("Quiet", () => act(`/admin/workers/${encodeURIComponent(first.id)}/${quiet.dataset.on === "yes" ? "resume" : "quiet"}`, {},
    quiet.dataset.on === "yes" ? `${name} takes jobs again` : `${name} takes no new jobs`), { kind: "little" });
  const drain = button("Drain", async () => {
    if (await confirmed(`Drain ${name}?`, "It finishes what it holds, gives the rest back to the queue unharmed, and leaves. It does not come back by itself.", "Drain it")) {
      await act(`/admin/workers/${encodeURIComponent(first.id)}/drain`, {}, `${name} finishes and leaves`);
    }
  }, { kind: "little danger", "aria-label": `Drain ${name}` });
  return {
    element: h("tr", {}, h("th", { scope: "row" }, h("span", { class: "clip", title: first.id }, name), h("span", { class: "quiet small" }, `${first.host}, ${first.version}`)),
      state, slots, memory, models, held, h("td", { class: "actions" }, h("div", { class: "row end" }, quiet, drain))),
    update(worker) {
      const on = worker.state === "quiet";
      fill(state, badge(worker.state));
      fill(slots, meter(worker.jobs.length / (worker.slots || 1), `${worker.jobs.length} of ${worker.slots}`));
      const { used = 0, budget = 0, resident = 0 } = worker.memory ?? {};
      fill(memory, meter(used / (budget || 1), `${bytes(used)} of ${bytes(budget)}`), h("div", { class: "quiet small" }, `process ${bytes(resident)}`));
      fill(models, h("div", { class: "chips" }, worker.models.map((model) => h("span", { class: `badge ${worker.loaded.includes(model) ? "good" : ""}`, title: worker.loaded.includes(model) ? "loaded" : "not loaded" }, model))));
      fill(held, worker.jobs.length ? h("div", { class: "chips" }, worker.jobs.slice(0, 6).map((id) => h("a", { class: "mono small", href: `/jobs/${id}` }, id.slice(-6))), worker.jobs.length > 6 ? h("span", { class: "quiet small" }, `and ${worker.jobs.length - 6} more`) : null) : h("span", { class: "quiet" }, "none"));
      quiet.dataset.on = on ? "yes" : "no";
      say(quiet, on ? "Resume" : "Quiet");
      quiet.setAttribute("aria-label", `${quiet.textContent}: ${name}`);
    },
  };
}

const nothing = (columns, ...parts) => h("tr", {}, h("td", { colspan: columns }, empty(...parts)));

function show(state, changed) {
  $("#trouble").hidden = true;
  const has = (...names) => names.some((name) => changed.includes(name));
  say($("#when"), `Live, as of ${clock(state.at)}`);
  if (has("queue", "rates")) {
    TILES.forEach(([, read], at) => {
      const [value, more = ""] = read(state);
      say(tiles[at].value, value);
      say(tiles[at].more, more);
    });
    pause.dataset.paused = state.queue.paused ? "yes" : "no";
    say(pause, state.queue.paused ? "Go on with all queues" : "Pause all queues");
    pause.classList.toggle("main", Boolean(state.queue.paused));
  }
  if (has("models")) queues.set(state.models, nothing(10, "box", "No model yet", "Queues appear as soon as a worker serves a model."));
  if (has("workers")) workers.set(state.workers, nothing(7, "plug", "No worker is here", "Start one with python -m velesio --role worker; jobs wait for it in the queue."));
  if (has("series") || Math.floor(state.at / state.series.step) !== show.span) {
    show.span = Math.floor(state.at / state.series.step);
    for (const chart of CHARTS) chart.set(state.series.points, state.at, state.series.step);
  }
  if (has("jobs")) jobs.merge(state.jobs);
}

follow(show, (error) => {
  say($("#when"), "Not live at the moment");
  fill($("#trouble"), h("p", { class: "note warn" }, error.status === 403 ? error.message : `${error.message} Connecting again …`)).hidden = false;
});
addEventListener("velesio:back", () => jobs.load());
jobs.load();
