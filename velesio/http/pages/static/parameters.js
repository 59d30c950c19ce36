// Parameters: what a request may ask for, each with a slider, a number and a sentence that explains it.

import { h } from "./dom.js";

export const TEXT = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, value: 0.8, hint: "How much chance has a say. 0 always takes the likeliest token; above 1 it gets wild." },
  { name: "max_tokens", label: "Longest answer", min: 1, max: 4096, step: 1, value: 512, always: true, hint: "Tokens, about three quarters of a word each, after which the answer is cut." },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: 0.01, value: 0.95, hint: "Only the likeliest tokens that together have this probability are considered." },
  { name: "top_k", label: "Top k", min: 0, max: 200, step: 1, value: 40, hint: "Only so many of the likeliest tokens are considered; 0: all." },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01, value: 0.05, hint: "Tokens less likely than this part of the likeliest one are left out." },
  { name: "repeat_penalty", label: "Repeat penalty", min: 0.5, max: 2, step: 0.01, value: 1, hint: "Above 1, tokens that came before become less likely." },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, value: 0, hint: "Above 0, the answer moves on to new subjects." },
  { name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1, value: 0, hint: "Above 0, a token becomes less likely each time that it comes." },
  { name: "seed", label: "Seed", min: -1, max: 4294967295, step: 1, value: -1, slider: false, hint: "The same seed gives the same answer; -1 draws one." },
  { name: "stop", label: "Stop texts", kind: "list", value: "", hint: "Texts that end the answer, separated by commas." },
];

export const IMAGE = [
  { name: "width", label: "Width", min: 64, max: 2048, step: 8, value: 512, hint: "Pixels." },
  { name: "height", label: "Height", min: 64, max: 2048, step: 8, value: 512, hint: "Pixels. Models draw best at the size that they were made for." },
  { name: "steps", label: "Steps", min: 1, max: 100, step: 1, value: 20, hint: "How often the picture is refined. More take longer; after 30 little changes." },
  { name: "cfg_scale", label: "Prompt strength", min: 1, max: 20, step: 0.5, value: 7, hint: "How closely the prompt is followed; too much burns colours." },
  { name: "seed", label: "Seed", min: -1, max: 4294967295, step: 1, value: -1, slider: false, hint: "The same seed gives the same picture; -1 draws one." },
  { name: "batch_size", label: "Pictures", min: 1, max: 8, step: 1, value: 1, hint: "Drawn together, each with the next seed." },
];

export const REDRAW = [
  { name: "denoising_strength", label: "Change", min: 0, max: 1, step: 0.05, value: 0.75, hint: "0 keeps the picture, 1 draws it anew." },
];

// Builds the fields; answers what they say. Only values that differ from the defaults are worth telling in code.
export function panel(place, specs, prefix, changed) {
  const rows = specs.map((spec) => row(spec, prefix, changed));
  const reset = h("button", { type: "button", class: "button plain little", onclick: () => { rows.forEach((each) => each.set(each.spec.value)); changed(); } }, "Back to the defaults");
  place.append(...rows.map((each) => each.element), reset);
  return {
    all: () => Object.fromEntries(rows.map((each) => [each.spec.name, each.get()]).filter(([, value]) => value !== null)),
    changed: () => Object.fromEntries(rows.filter((each) => each.spec.always || each.differs()).map((each) => [each.spec.name, each.get()]).filter(([, value]) => value !== null)),
    set: (values) => { for (const each of rows) if (values[each.spec.name] !== undefined) each.set(values[each.spec.name]); changed(); },
    // What the chosen model would have, unless somebody has set something else.
    defaults: (values) => {
      for (const each of rows) {
        if (values[each.spec.name] === undefined) continue;
        const differed = each.differs();
        each.spec = { ...each.spec, value: values[each.spec.name] };
        if (!differed) each.set(each.spec.value);
      }
      changed();
    },
    bound: (name, max) => rows.find((each) => each.spec.name === name)?.bound(max),
  };
}

function row(spec, prefix, changed) {
  const id = `${prefix}-${spec.name}`;
  const list = spec.kind === "list";
  const input = h("input", { id, type: list ? "text" : "number", class: list ? "wide" : null, min: spec.min, max: spec.max, step: list ? null : spec.step < 1 ? "any" : 1,
    ".value": spec.value, "aria-describedby": `${id}-hint`, inputmode: list ? null : "decimal" });
  const slider = list || spec.slider === false ? null
    : h("input", { type: "range", min: spec.min, max: spec.max, step: spec.step, ".value": spec.value, "aria-label": spec.label, tabindex: -1 });
  const element = h("div", { class: "parameter" }, h("label", { for: id }, spec.label), input, slider, h("span", { class: "hint", id: `${id}-hint` }, spec.hint));
  const mark = () => { element.classList.toggle("changed", made.differs()); };
  const settle = () => { mark(); changed(); };
  input.addEventListener("input", () => { if (slider) slider.value = input.value; settle(); });
  slider?.addEventListener("input", () => { input.value = slider.value; settle(); });
  const made = {
    spec, element,
    differs: () => String(input.value) !== String(made.spec.value),
    get: () => (list ? texts(input.value) : number(input.value, made.spec)),
    set: (value) => { input.value = value; if (slider) slider.value = value; mark(); },
    bound: (max) => { input.max = max; if (slider) slider.max = max; },
  };
  return made;
}

function number(text, spec) {
  const value = Number(text);
  return text === "" || Number.isNaN(value) ? spec.value : Math.min(Math.max(value, spec.min), spec.max);
}

function texts(text) {
  const found = text.split(",").map((each) => each.trim()).filter(Boolean);
  return found.length ? found : null;
}
