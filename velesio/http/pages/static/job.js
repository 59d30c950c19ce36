// Job: one job's way through the queue, as a bar of its times and as a list of what happened.

import { admin } from "./frame.js";
import { get, post, ask } from "./api.js";
import { $, button, empty, fill, h, say, toast } from "./dom.js";
import { clock, lasted } from "./format.js";
import { badge } from "./states.js";

const id = decodeURIComponent(location.pathname.split("/")[2]);
const LOOK_EVERY = 1000;
const WORDS = {
  queued: "Queued", leased: "Taken by a worker", first_text: "First text", released: "Given back unharmed", retried: "To be tried again",
  lost: "Lost with its worker", requeued: "Queued again by somebody", completed: "Completed", failed: "Failed", cancelled: "Cancelled",
};
const KINDS = { leased: "accent", first_text: "accent", released: "warn", retried: "warn", lost: "bad", requeued: "warn", completed: "good", failed: "bad" };
const ENDED = new Set(["done", "failed", "cancelled"]);

say($("#id"), id);

async function look() {
  let job;
  try {
    job = await get(`${admin ? "/admin/jobs" : "/v1/jobs"}/${encodeURIComponent(id)}`);
    $("#trouble").hidden = true;
  } catch (error) {
    if (error.status === 404) fill($("#main"), empty("list", "This job is not known", "Results are kept for an hour, failed jobs for a week; and each key sees only its own tenant's.", h("a", { class: "button", href: "/" }, "To the playground")));
    else {
      fill($("#trouble"), h("p", { class: "note warn" }, error.message)).hidden = false;
      setTimeout(look, 2 * LOOK_EVERY);
    }
    return;
  }
  show(admin ? job : { ...job, queued: job.created, timeline: guessed(job), ...(job.error ? { code: job.error.code, reason: job.error.message } : {}) });
  if (!ENDED.has(job.state)) setTimeout(look, LOOK_EVERY);
}

// Who is no administrator is told less; what is known makes a shorter timeline.
function guessed(job) {
  const events = [{ at: job.created, event: "queued" }];
  if (job.started) events.push({ at: job.started, event: "leased" });
  if (job.ended) events.push({ at: job.ended, event: job.state === "done" ? "completed" : job.state });
  return events;
}

function show(job) {
  fill($("#job-state"), badge(job.state));
  const end = job.ended ?? null;
  const facts = [["Model", job.model], ["Priority", job.priority], job.tenant ? ["Tenant", job.tenant] : null, ["Attempts", `${job.attempts}${job.crashes ? `, ${job.crashes} lost` : ""}`],
    job.position !== undefined && job.position !== null ? ["Ahead of it", `${job.position}${job.eta ? `, about ${lasted(job.eta * 1000)}` : ""}`] : null,
    ["Took", end ? lasted((end - job.queued) * 1000) : "goes on"], job.worker ? ["Worker", job.worker] : null, ENDED.has(job.state) ? null : ["At the latest", clock(job.deadline)]];
  fill($("#facts"), facts.filter(Boolean).map(([title, value]) => h("div", { class: "tile" }, h("dt", {}, title), h("dd", { class: "wrap" }, h("small", {}, String(value))))));
  fill($("#bars"), bars(job));
  fill($("#timeline"), job.timeline.map((event, at) => h("li", { class: KINDS[event.event] ?? "" }, h("strong", {}, WORDS[event.event] ?? event.event),
    h("span", { class: "at" }, clock(event.at), at ? ` · ${lasted((event.at - job.timeline[at - 1].at) * 1000)} later` : "", event.worker ? ` · ${event.worker}` : "", event.attempt > 1 ? ` · attempt ${event.attempt}` : ""),
    event.reason ? h("span", { class: "small wrap" }, event.reason) : null)));
  $("#failure").hidden = !job.reason;
  if (job.reason) fill($("#why"), h("p", { class: "note bad" }, h("span", {}, h("strong", {}, job.code), " ", job.reason)),
    job.traceback ? h("details", { class: "fold" }, h("summary", {}, "Traceback"), h("div", { class: "code" }, h("pre", { tabindex: 0, role: "region", "aria-label": "Traceback" }, job.traceback))) : null);
  fill($("#actions"), ENDED.has(job.state) ? null : button("Cancel", () => act("cancel"), { kind: "danger" }), job.state === "failed" ? button("Requeue", () => act("requeue"), { kind: "main", glyph: "again" }) : null);
}

function bars(job) {
  const end = job.ended ?? Date.now() / 1000;
  const begun = job.started || end;
  const first = job.first_text || (job.ended ? begun : end);
  const parts = [["waited", "waited", begun - job.queued], ["prepared", "until the first text", job.first_text ? first - begun : 0], ["made", "made", end - Math.max(first, begun)]].filter(([, , span]) => span > 0);
  return [h("div", { class: "spans-key" }, parts.map(([kind, words, span]) => h("span", { class: kind }, h("i"), `${words} ${lasted(span * 1000)}`))),
    h("div", { class: "spans", "aria-hidden": "true" }, parts.map(([kind, , span]) => {
      const part = h("span", { class: kind });
      part.style.flexGrow = Math.max(span, 0.0001);
      return part;
    }))];
}

async function act(action) {
  try {
    if (admin) await post(`/admin/jobs/${encodeURIComponent(id)}/${action}`);
    else await (action === "cancel" ? ask("DELETE", `/v1/jobs/${encodeURIComponent(id)}`) : post(`/v1/jobs/${encodeURIComponent(id)}/requeue`));
    toast(action === "cancel" ? "Cancelled" : "Queued again");
  } catch (error) {
    toast(error.message, "bad");
  }
  look();
}

addEventListener("velesio:back", look);
look();
