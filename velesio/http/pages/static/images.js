// Images: draws pictures while one watches, keeps them in a gallery, and draws parts of them anew.

import { get, post } from "./api.js";
import { $, button, copy, empty, fill, h, say, toast } from "./dom.js";
import { Mask } from "./mask.js";
import { IMAGE, REDRAW, panel } from "./parameters.js";
import { snippets } from "./snippets.js";

const LOOK_EVERY = 250;

export function start({ model }) {
  const stage = $("#stage");
  const foot = $("#stage-foot");
  const go = $("#images-go");
  const prompt = $("#image-prompt");
  const negative = $("#negative");
  const pictures = [];
  let current = -1;
  let source = null; // the picture that is drawn anew: {address, data, width, height}
  let mask = null;
  let running = null;
  let sized = "";

  const code = snippets($("#images-code"), () => { const { path, body } = request(); return { path, body }; });
  const parameters = panel($("#images-parameters"), IMAGE, "image", () => code());
  const choices = h("div", { class: "stack" });
  $("#images-parameters").prepend(choices);
  const redraw = h("div", { class: "stack" });
  const change = panel(redraw, REDRAW, "redraw", () => code());
  const sampler = select("sampler", "Sampler", "How each step is taken. Euler is plain and fast; DPM++ 2M needs fewer steps.");
  const schedule = select("schedule", "Schedule", "How the noise is spread over the steps; Automatic is what suits the sampler.");
  const loras = h("div", { class: "stack-tight" });
  fill(choices, sampler.element, schedule.element, loras);
  for (const area of [prompt, negative]) area.addEventListener("input", () => code());

  function select(name, label, hint) {
    const element = h("select", { id: `image-${name}`, "aria-describedby": `image-${name}-hint`, onchange: () => code() });
    return { input: element, element: h("div", { class: "field" }, h("label", { for: `image-${name}` }, label), element, h("span", { class: "hint", id: `image-${name}-hint` }, hint)) };
  }

  // The prompt with a tag for each LoRA that is switched on.
  function whole() {
    const tags = [...loras.querySelectorAll("[data-lora]")].filter((row) => $("input[type=checkbox]", row).checked)
      .map((row) => `<lora:${row.dataset.lora}:${$("input[type=number]", row).value || 1}>`);
    return [prompt.value.trim(), ...tags].join(" ").trim();
  }

  function request() {
    const { seed, ...rest } = parameters.all();
    const body = { prompt: whole(), negative_prompt: negative.value.trim(), ...rest, seed, sampler_name: sampler.input.value || "Euler",
      scheduler: schedule.input.value || "Automatic", override_settings: { sd_model_checkpoint: model()?.id ?? "" } };
    if (!source) return { path: "/sdapi/v1/txt2img", body };
    Object.assign(body, { init_images: [source.data], denoising_strength: change.all().denoising_strength });
    if (mask && !mask.empty) Object.assign(body, { mask: mask.encoded(), inpainting_fill: 1, inpaint_full_res: false, mask_blur: 2 });
    return { path: "/sdapi/v1/img2img", body };
  }

  async function draw() {
    const task = `page-${Math.random().toString(36).slice(2)}`;
    const { path, body } = request();
    const many = body.batch_size > 1 ? `${body.batch_size} pictures` : "a picture";
    const preview = h("img", { alt: "What the picture looks like so far", class: "small", hidden: true });
    const bar = h("span");
    bar.style.transform = "scaleX(0)";
    const words = h("span", { class: "quiet small", role: "status" }, "Waiting for a free place …");
    running = { task };
    say(go, "Stop");
    fill(stage, preview, h("div", { class: "waiting" }, h("i"), h("i"), h("i")));
    fill(foot, h("div", { class: "progress", role: "progressbar", "aria-label": `Drawing ${many}`, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 0 }, bar), words);
    const watching = watch(task, preview, bar, words);
    try {
      const sent = { ...body, force_task_id: task, override_settings: { ...body.override_settings, show_progress_every_n_steps: 1, live_previews_enable: true } };
      const told = await post(path, sent);
      keep(told, body);
    } catch (error) {
      fill(stage, empty("image", "No picture", error.message));
      $("strong", stage).parentElement.setAttribute("role", "alert");
      fill(foot);
    }
    clearInterval(watching);
    running = null;
    say(go, source ? "Draw it anew" : "Draw");
  }

  // Asks how far the picture is; each answer brings a preview if there is a newer one.
  function watch(task, preview, bar, words) {
    let seen = -1;
    let asking = false;
    return setInterval(async () => {
      if (asking || running?.task !== task) return;
      asking = true;
      try {
        const told = await post("/internal/progress", { id_task: task, id_live_preview: seen, live_preview: true });
        if (running?.task !== task) return;
        if (told.live_preview) {
          preview.src = told.live_preview;
          preview.hidden = false;
          preview.nextElementSibling.hidden = true;
          seen = told.id_live_preview;
        }
        if (told.active) {
          bar.style.transform = `scaleX(${told.progress})`;
          bar.parentElement.setAttribute("aria-valuenow", Math.round(told.progress * 100));
          say(words, `${Math.round(told.progress * 100)} %${told.eta > 0 ? `, about ${Math.ceil(told.eta)} s left` : ""}`);
        } else if (told.textinfo) say(words, told.textinfo);
      } catch { /* the picture's own request tells what is wrong */ }
      asking = false;
    }, LOOK_EVERY);
  }

  async function stop() {
    try {
      await post(`/sdapi/v1/interrupt?id_task=${encodeURIComponent(running.task)}`);
    } catch (error) {
      toast(error.message, "bad");
    }
  }

  function keep(told, body) {
    const info = JSON.parse(told.info);
    const found = told.images.map((data, at) => ({ data, address: `data:image/png;base64,${data}`, infotext: info.infotexts?.[at] ?? "", seed: info.all_seeds?.[at] ?? body.seed, body }));
    pictures.unshift(...found);
    if (!found.length) {
      fill(stage, empty("image", "Stopped", "Nothing was drawn yet when you stopped."));
      fill(foot);
      return;
    }
    listed();
    choose(0);
  }

  function listed() {
    fill($("#gallery"), pictures.length ? pictures.map((picture, at) => h("li", {}, h("button", { type: "button", "aria-pressed": at === current, title: picture.infotext.split("\n")[0],
      onclick: () => choose(at) }, h("img", { src: picture.address, alt: `Picture ${pictures.length - at}: ${picture.body.prompt}` })))) : null);
  }

  function choose(at) {
    current = at;
    const picture = pictures[at];
    leaveMask();
    const image = h("img", { src: picture.address, alt: picture.body.prompt });
    image.addEventListener("load", () => { image.classList.toggle("small", image.naturalWidth < 256); });
    fill(stage, image);
    const actions = h("div", { class: "row" },
      h("a", { class: "button little", href: picture.address, download: `velesio-${picture.seed}.png` }, "Save"),
      button("Send to img2img", () => use(picture, false), { kind: "little", glyph: "image" }),
      button("Paint a mask", () => use(picture, true), { kind: "little", glyph: "brush" }),
      button("Use its seed", () => { parameters.set({ seed: picture.seed }); toast(`Seed ${picture.seed}`); }, { kind: "little" }));
    const words = h("div", { class: "infotext mono", tabindex: 0, role: "region", "aria-label": "How it was made" }, picture.infotext);
    const take = button("Copy how it was made", () => copy(picture.infotext, take), { kind: "little", glyph: "copy" });
    actions.append(take);
    fill(foot, actions, words);
    listed();
  }

  function use(picture, painting) {
    source = { address: picture.address, data: picture.data };
    shownSource();
    if (painting) paint();
    else toast("The next picture begins with this one");
  }

  function paint() {
    const image = h("img", { alt: "The picture that is drawn anew" });
    image.addEventListener("load", () => {
      parameters.set({ width: image.naturalWidth, height: image.naturalHeight });
      mask = new Mask(image, () => { shownSource(); code(); });
      fill(stage, mask.element);
      fill(foot, mask.tools, h("p", { class: "quiet small" }, "Paint over what shall change, say in the prompt what shall be there, and draw."));
      shownSource();
      mask.canvas.focus();
    }, { once: true });
    image.src = source.address;
  }

  function leaveMask() {
    if (!mask) return;
    mask = null;
    shownSource();
  }

  // Tells what the next picture begins with, and lets it be chosen.
  function shownSource() {
    const place = $("#image-source");
    const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp", class: "unseen", id: "image-file", tabindex: -1, "aria-label": "A picture from this device" });
    file.addEventListener("change", () => read(file.files[0]));
    if (!source) fill(place, h("div", { class: "row" }, button("Begin with a picture …", () => file.click(), { kind: "plain little", glyph: "image" }), file));
    else {
      fill(place, h("div", { class: "source" }, h("img", { src: source.address, alt: "The picture to begin with" }),
        h("div", { class: "stack-tight grow" }, h("span", { class: "small" }, mask ? (mask.empty ? "Paint over what shall change" : "Only the painted part changes") : "Drawn anew from this picture"),
          h("div", { class: "row" }, button(mask ? "Clear the mask" : "Paint a mask", () => (mask ? mask.clear() : paint()), { kind: "little", glyph: mask ? "" : "brush" }),
            button("Remove", () => { source = null; const had = mask; mask = null; if (had) idle(); shownSource(); }, { kind: "plain little" })))), redraw);
    }
    if (!running) say(go, source ? "Draw it anew" : "Draw");
    code();
  }

  function read(file) {
    if (!file) return;
    const reader = new FileReader();
    reader.addEventListener("load", () => {
      source = { address: reader.result, data: reader.result.split(",")[1] };
      shownSource();
    });
    reader.readAsDataURL(file);
  }

  function idle() {
    if (pictures.length) choose(Math.max(current, 0));
    else {
      fill(stage, empty("image", "Nothing drawn yet", "Describe a picture and press Draw. You can watch it come out of the noise, and stop it when you have seen enough."));
      fill(foot);
    }
  }

  async function lists() {
    const [samplers, schedulers, adapters] = await Promise.all(["samplers", "schedulers", "loras"].map((name) => get(`/sdapi/v1/${name}`)));
    const before = [sampler.input.value || "Euler", schedule.input.value || "Automatic"];
    fill(sampler.input, samplers.map((each) => h("option", {}, each.name)));
    fill(schedule.input, schedulers.map((each) => h("option", { value: each.label }, each.label)));
    [sampler.input.value, schedule.input.value] = before;
    fill(loras, adapters.length ? [h("span", { class: "label" }, "LoRA"), adapters.map((each, at) => h("div", { class: "lora", "data-lora": each.name },
      h("label", { class: "check" }, h("input", { type: "checkbox", onchange: () => code() }), h("span", { class: "clip" }, each.alias)),
      h("input", { type: "number", step: "any", min: -2, max: 2, value: 1, "aria-label": `Strength of ${each.name}`, oninput: () => code(), id: `lora-${at}` })))] : null);
    code();
  }

  $("#images-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) stop();
    else if (model()) draw();
    else toast("No model here draws pictures", "bad");
  });
  idle();
  shownSource();
  return {
    changed() {
      const chosen = model();
      if (chosen && sized !== chosen.id) {
        sized = chosen.id;
        const side = chosen.meta.size || 512;
        parameters.defaults({ width: side, height: side });
        lists().catch((error) => toast(error.message, "bad"));
      }
      code();
    },
  };
}
