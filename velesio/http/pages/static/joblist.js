// Job list: up to a thousand jobs, kept current by the feed, a hundred at a time; the others come when somebody looks further.

import { get, post } from "./api.js";
import { $, button, confirmed, empty, fill, h, say, toast } from "./dom.js";
import { clock, count, lasted } from "./format.js";
import { Rows } from "./rows.js";
import { badge } from "./states.js";

const WHICH = { all: "All", running: "Running", queued: "Waiting", failed: "Failed", done: "Completed", cancelled: "Cancelled" };
const MOST = 1000;
const PAGE = 100;
const AGAIN = 30_000;
const SOON = 3000;
const OPEN = new Set(["running", "queued", "scheduled"]);

export class JobList {
  constructor() {
    this.which = "all";
    this.page = 0;
    this.limit = PAGE;
    this.more = false;
    this.jobs = new Map();
    this.page = 0;
    this.rows = new Rows($("#jobs"), (job) => job.id, (job) => this.row(job));
    this.buttons = Object.entries(WHICH).map(([name, title]) => h("button", { type: "button", "data-which": name, onclick: () => this.choose(name) }, title));
    fill($("#which"), this.buttons);
    this.requeue = button("Requeue all failed", () => this.requeueAll(), { kind: "little", glyph: "again" });
    fill($("#jobs-tools"), this.requeue);
    this.place = h("span", { class: "quiet small", role: "status" });
    this.newer = button("Newer", () => this.turn(-1), { kind: "plain little" });
    this.older = button("Older", () => this.turn(1), { kind: "plain little" });
    fill($("#jobs-more"), this.newer, this.place, this.older);
    setInterval(() => { if (!document.hidden) this.load(); }, AGAIN);
    this.mark();
  }

  choose(name) {
    this.which = name;
    this.page = 0;
    this.limit = PAGE;
    this.mark();
    this.load();
  }

  mark() {
    for (const each of this.buttons) each.setAttribute("aria-pressed", each.dataset.which === this.which);
    this.requeue.hidden = this.which !== "failed";
  }

  states() {
    return this.which === "all" ? [] : this.which === "queued" ? ["queued", "scheduled"] : [this.which];
  }

  async load() {
    const query = this.states().map((state) => `&state=${state}`).join("");
    try {
      const told = await get(`/admin/jobs?limit=${this.limit}${query}`);
      this.more = told.more;
      this.jobs = new Map(told.jobs.map((job) => [job.id, job]));
      this.loaded = Date.now();
      this.draw();
    } catch (error) {
      if (!this.jobs.size) fill($("#jobs"), h("tr", {}, h("td", { colspan: 9 }, h("p", { class: "note bad" }, error.message))));
    }
  }

  // What the feed tells: the jobs that run and wait, and those that ended last.
  merge({ running, waiting, ended }) {
    if (!this.loaded) return;
    // More ended since the last look than the feed tells.
    if (ended.length && !ended.some((job) => this.jobs.has(job.id)) && Date.now() - this.loaded > SOON) this.load();
    for (const job of [...running, ...waiting, ...ended]) this.jobs.set(job.id, { ...this.jobs.get(job.id), ...job });
    this.draw();
  }

  draw() {
    const states = this.states();
    const fit = [...this.jobs.values()].filter((job) => !states.length || states.includes(job.state)).sort((a, b) => b.queued - a.queued).slice(0, MOST);
    const pages = Math.max(1, Math.ceil(fit.length / PAGE));
    this.page = Math.min(this.page, pages - 1);
    const begin = this.page * PAGE;
    this.rows.set(fit.slice(begin, begin + PAGE), h("tr", {}, h("td", { colspan: 9 }, empty("list", this.which === "failed" ? "Nothing has failed" : "No jobs here",
      this.which === "failed" ? "Jobs that cannot be done are kept here for a week, with the reason, and can be queued again." : "They appear as soon as somebody asks for something."))));
    const more = this.more && this.limit < MOST;
    say($("#jobs-count"), fit.length ? `${count(fit.length)}${this.more ? " or more" : ""}` : "");
    $("#jobs-more").hidden = pages < 2 && !more;
    say(this.place, `${count(begin + 1)} to ${count(Math.min(begin + PAGE, fit.length))} of ${count(fit.length)}${this.more ? " or more" : ""}`);
    this.newer.disabled = this.page === 0;
    this.older.disabled = this.page === pages - 1 && !more;
  }

  // A page further; the thousand would be too many rows at once for a table that changes each second.
  async turn(step) {
    if (step > 0 && this.limit < MOST) {
      this.limit = MOST;
      await this.load();
    }
    this.page += step;
    this.draw();
    $("#jobs-title").scrollIntoView({ block: "start" });
  }

  row(first) {
    const [state, took, reason, actions] = ["", "number", "reason", "actions"].map((kind) => h("td", { class: kind }));
    return {
      element: h("tr", {}, state, h("td", {}, h("a", { class: "mono", href: `/jobs/${first.id}`, title: first.id }, first.id.slice(-12))), h("td", {}, h("span", { class: "clip" }, first.model)),
        h("td", {}, h("span", { class: "clip" }, first.tenant)), h("td", {}, first.priority), h("td", {}, clock(first.queued)), took, reason, actions),
      update: (job) => {
        fill(state, badge(job.state));
        say(took, job.ended ? lasted((job.ended - job.queued) * 1000) : "–");
        say(reason, job.reason ?? "");
        fill(actions, OPEN.has(job.state) ? button("Cancel", () => this.act(job, "cancel"), { kind: "little", "aria-label": `Cancel job ${job.id}` })
          : job.state === "failed" ? button("Requeue", () => this.act(job, "requeue"), { kind: "little", "aria-label": `Requeue job ${job.id}` }) : null);
      },
    };
  }

  async act(job, action) {
    try {
      const told = await post(`/admin/jobs/${job.id}/${action}`);
      this.jobs.set(job.id, { ...job, state: told.state, ended: null, reason: undefined });
      toast(action === "cancel" ? "Cancelled" : "Queued again");
      this.draw();
      if (action === "cancel") this.load();
    } catch (error) {
      toast(error.message, "bad");
    }
  }

  async requeueAll() {
    if (!await confirmed("Queue all failed jobs again?", "Each gets all its attempts anew. Jobs whose input is not kept any more stay as they are.", "Queue them again")) return;
    try {
      const told = await post("/admin/queue/requeue");
      toast(`${count(told.requeued)} queued again`);
      this.load();
    } catch (error) {
      toast(error.message, "bad");
    }
  }
}
