// Playground: four views of one bench; the address remembers which is open.

import "./frame.js";
import { get } from "./api.js";
import { $, $$, empty, fill, h } from "./dom.js";
import { start as startChat } from "./chat.js";
import { start as startCompletion } from "./completion.js";
import { start as startEmbeddings } from "./embeddings.js";
import { start as startImages } from "./images.js";

const VIEWS = { chat: startChat, completion: startCompletion, images: startImages, embeddings: startEmbeddings };
const NEEDS = { chat: "generates", completion: "generates", images: "draws", embeddings: "embeds" };
const tabs = $$("[role=tab]");
const select = $("#model");
const begun = new Map();
const chosen = {};
let models = [];
let open = "";

function can(model, need) {
  const draws = model.architecture.output_modalities.includes("image");
  if (need === "draws") return draws;
  if (draws) return false;
  return need === "embeds" ? model.meta.embeds !== false : model.meta.generates !== false;
}

function show(name, focus = false) {
  open = name;
  for (const tab of tabs) {
    const on = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", on);
    tab.tabIndex = on ? 0 : -1;
    if (on && focus) tab.focus();
    $(`#view-${tab.id.slice(4)}`).hidden = !on;
  }
  if (location.hash.slice(1) !== name) history.replaceState(null, "", `#${name}`);
  offer();
  if (!begun.has(name)) begun.set(name, VIEWS[name]({ model: () => models.find((each) => each.id === select.value) ?? null }));
  begun.get(name).changed?.();
}

// Fills the list of models with those that this view can use.
function offer() {
  const fit = models.filter((model) => can(model, NEEDS[open]));
  const nobody = $("#nobody");
  select.disabled = fit.length === 0;
  fill(select, fit.length ? fit.map((model) => h("option", { value: model.id }, model.id + (model.status.value === "loaded" ? "" : ` (${model.status.value})`)))
    : h("option", {}, "No model for this"));
  if (fit.some((model) => model.id === chosen[open])) select.value = chosen[open];
  nobody.hidden = fit.length > 0 || models.length === 0;
  if (!nobody.hidden) {
    fill(nobody, h("div", { class: "card" }, empty(open === "images" ? "image" : "box", open === "images" ? "No model here draws pictures" : "No model here fits this view",
      open === "images" ? "Put a Stable Diffusion checkpoint into checkpoints/ below the models folder, or start a worker that has one."
        : "Put a GGUF file into text/ below the models folder, or start a worker that has one.", h("a", { class: "button", href: "/models" }, "See the models"))));
  }
}

async function refresh() {
  let told;
  try {
    told = await get("/models?reload=1");
  } catch (error) {
    fill($("#nobody"), h("p", { class: "note bad" }, error.message)).hidden = false;
    return;
  }
  models = told.data;
  if (!models.length) {
    fill($("#nobody"), h("p", { class: "note warn" }, "No worker serves a model yet. This page looks again by itself.")).hidden = false;
    setTimeout(refresh, 2000);
  }
  offer();
  begun.get(open)?.changed?.();
}

select.addEventListener("change", () => {
  chosen[open] = select.value;
  begun.get(open)?.changed?.();
});
for (const tab of tabs) {
  tab.addEventListener("click", () => show(tab.id.slice(4)));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length].id.slice(4), true);
  });
}
addEventListener("hashchange", () => { if (VIEWS[location.hash.slice(1)]) show(location.hash.slice(1)); });
addEventListener("velesio:back", refresh);
if (matchMedia("(min-width: 62.01rem)").matches) for (const fold of $$("[data-wide-open]")) fold.open = true;
else for (const fold of $$("details.fold")) fold.open = false;
show(VIEWS[location.hash.slice(1)] ? location.hash.slice(1) : "chat");
refresh();
