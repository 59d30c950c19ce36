// Models: what is loaded where, and for administrators what shall be.

import { admin } from "./frame.js";
import { get, post } from "./api.js";
import { $, button, empty, fill, h, say, toast } from "./dom.js";
import { follow } from "./feed.js";
import { bytes, count } from "./format.js";
import { startPulls } from "./pulls.js";
import { Rows } from "./rows.js";
import { badge } from "./states.js";

const LOOK_EVERY = 3000;
const rows = new Rows($("#models"), (model) => model.name, row);
const nobody = () => h("tr", {}, h("td", { colspan: 7 }, empty("box", "No model is served", "Put a GGUF file into text/ or a checkpoint into checkpoints/ below the models folder: workers see it within seconds.")));

async function act(path, name, words) {
  try {
    await post(path, { model: name });
    toast(words);
  } catch (error) {
    toast(error.message, "bad");
  }
}

function row(first) {
  const [state, kind, workers, actions] = ["", "", "", "actions"].map((each) => h("td", { class: each }));
  const [context, size] = [h("td", { class: "number" }), h("td", { class: "number" })];
  const bar = h("span");
  const progress = h("div", { class: "progress", role: "progressbar", "aria-label": `Loading ${first.name}`, "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
  const why = h("div", { class: "small wrap" });
  const title = h("span", {}, first.name);
  const load = button("Load", () => act("/admin/models/load", first.name, `${first.name} is being loaded`), { kind: "little", "aria-label": `Load ${first.name}` });
  const unload = button("Unload", () => act("/admin/models/unload", first.name, `${first.name} is unloaded when its jobs have ended`), { kind: "little", "aria-label": `Unload ${first.name}` });
  const pin = button("Pin", () => act(pin.dataset.on === "yes" ? "/admin/models/unpin" : "/admin/models/pin", first.name, pin.dataset.on === "yes" ? `${first.name} may be unloaded again` : `${first.name} is kept`), { kind: "little plain" });
  if (admin) fill(actions, h("div", { class: "row end" }, load, unload, pin));
  return {
    element: h("tr", {}, h("th", { scope: "row" }, title, h("div", { class: "quiet small" }, [first.backend, ...first.aliases.map((each) => `also ${each}`)].join(", "))), state, kind, context, size, workers, actions),
    update(model) {
      const loading = model.state === "loading";
      fill(state, badge(model.state), model.pinned ? h("span", { class: "badge accent" }, "pinned") : null, loading ? progress : null, model.reason ? why : null);
      say(why, model.reason);
      bar.style.transform = `scaleX(${model.progress})`;
      progress.setAttribute("aria-valuenow", Math.round(model.progress * 100));
      say(kind, model.kind === "image" ? "pictures" : "text");
      say(context, model.context ? count(model.context) : "–");
      say(size, model.bytes ? bytes(model.bytes) : "–");
      say(workers, model.workers ? count(model.workers.length) : "–");
      load.hidden = loading || model.state === "loaded";
      unload.hidden = !load.hidden;
      pin.dataset.on = model.pinned ? "yes" : "no";
      say(pin, model.pinned ? "Unpin" : "Pin");
      pin.setAttribute("aria-label", `${pin.textContent}: ${model.name}`);
    },
  };
}

// What everybody may know, in the shape of the feed.
async function look() {
  try {
    const told = await get("/models?reload=1");
    rows.set(told.data.map((model) => ({
      name: model.id, aliases: model.aliases, backend: model.architecture.output_modalities.includes("image") ? "diffusion" : "llama",
      kind: model.architecture.output_modalities.includes("image") ? "image" : "text", state: model.status.failed ? "failed" : model.status.value, reason: model.status.reason ?? "",
      progress: model.status.progress?.value ?? 0, context: model.meta.n_ctx, bytes: model.architecture.output_modalities.includes("image") ? 0 : model.meta.size, pinned: false,
    })), nobody());
    $("#trouble").hidden = true;
  } catch (error) {
    fill($("#trouble"), h("p", { class: "note warn" }, error.message)).hidden = false;
  }
  setTimeout(look, LOOK_EVERY);
}

if (admin) {
  startPulls();
  follow((state, changed) => {
    if (changed.includes("models")) rows.set(state.models, nobody());
    $("#trouble").hidden = true;
  }, (error) => { fill($("#trouble"), h("p", { class: "note warn" }, `${error.message} Connecting again …`)).hidden = false; });
} else look();
