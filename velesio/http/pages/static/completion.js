// Completion: a text that goes on, and for each token what else could have come.

import { events } from "./api.js";
import { painter, seconds } from "./chat.js";
import { $, fill, h, say } from "./dom.js";
import { TEXT, panel } from "./parameters.js";
import { snippets } from "./snippets.js";

const PATH = "/completion";
const SHOWN = 8;
const SPECS = TEXT.map((spec) => (spec.name === "max_tokens" ? { ...spec, name: "n_predict", value: 64 } : spec));

export function start({ model }) {
  const prompt = $("#prompt");
  const place = $("#tokens");
  const detail = $("#token");
  const go = $("#completion-go");
  let running = null;
  let told = [];
  let current = -1;

  const body = () => ({ model: model()?.id ?? "", prompt: prompt.value, n_predict: 64, ...parameters.changed(), n_probs: SHOWN, stream: true });
  const parameters = panel($("#completion-parameters"), SPECS, "completion", () => code());
  const code = snippets($("#completion-code"), () => ({ path: PATH, stream: true, body: body() }));
  prompt.addEventListener("input", () => code());

  function idle() {
    fill(place, h("span", { class: "quiet" }, "The text appears here, token by token."));
    fill(detail, h("p", { class: "quiet small" }, "Underlines show how sure the model was: green nearly certain, blue likely, amber and red surprising."));
  }

  async function run() {
    if (running) {
      running.abort();
      return;
    }
    const control = new AbortController();
    running = control;
    told = [];
    current = -1;
    say(go, "Stop");
    fill(place, h("span", { class: "given" }, prompt.value));
    const began = performance.now();
    let first = 0;
    let drawn = 0;
    let rate = "";
    const paint = painter(() => {
      place.append(...told.slice(drawn).map((token, index) => shown(token, drawn + index)));
      drawn = told.length;
      if (rate) say($("#completion-rate"), rate);
    });
    try {
      for await (const { data } of events(PATH, body(), { signal: control.signal })) {
        first ||= performance.now();
        told.push(...(data.completion_probabilities ?? []));
        if (data.timings) rate = `first token after ${seconds(first - began)} · ${data.timings.predicted_n} tokens · ${data.timings.predicted_per_second.toFixed(1)} tokens/s`;
        paint();
      }
      paint();
    } catch (error) {
      if (error.name === "AbortError") rate = "Stopped.";
      else place.append(h("p", { class: "note bad", role: "alert" }, error.message));
      paint();
    }
    running = null;
    say(go, "Continue the text");
  }

  function shown(token, index) {
    const chance = Math.exp(token.logprob);
    const shade = chance > 0.8 ? 0 : chance > 0.3 ? 1 : chance > 0.05 ? 2 : 3;
    return h("span", { class: `t p${shade}`, "data-at": index }, token.token);
  }

  function explain(at) {
    if (!told[at] || at === current) return;
    $(".on", place)?.classList.remove("on");
    current = at;
    $(`[data-at="${at}"]`, place)?.classList.add("on");
    const token = told[at];
    const rows = token.top_logprobs.some((each) => each.id === token.id) ? token.top_logprobs : [token, ...token.top_logprobs];
    fill(detail, h("strong", {}, h("span", { class: "mono" }, visible(token.token)), ` came with ${percent(token.logprob)}`),
      h("div", { class: "odds" }, rows.map((each) => {
        const bar = h("span");
        bar.style.transform = `scaleX(${Math.exp(each.logprob)})`;
        return [h("span", { class: "mono" }, visible(each.token)), h("span", { class: `bar ${each.id === token.id ? "chosen" : ""}` }, bar), h("span", { class: "number small" }, percent(each.logprob))];
      })));
  }

  place.addEventListener("pointerover", (event) => { if (event.target.dataset.at) explain(Number(event.target.dataset.at)); });
  place.addEventListener("pointerdown", (event) => { if (event.target.dataset.at) explain(Number(event.target.dataset.at)); });
  place.addEventListener("focus", () => { if (current < 0) explain(0); });
  place.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    explain(Math.min(Math.max(current + step, 0), told.length - 1));
  });
  $("#completion-form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
  idle();
  return { changed: () => code() };
}

function visible(text) {
  return text.replaceAll(" ", "·").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "(nothing)";
}

function percent(logprob) {
  const value = Math.exp(logprob) * 100;
  return value >= 99.95 ? "100 %" : value >= 10 ? `${value.toFixed(0)} %` : value >= 0.1 ? `${value.toFixed(1)} %` : "< 0.1 %";
}
