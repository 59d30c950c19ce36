// Embeddings: how close texts are to each other in meaning.

import { post } from "./api.js";
import { seconds } from "./chat.js";
import { $, empty, fill, h, say } from "./dom.js";
import { snippets } from "./snippets.js";

const MOST = 12;

export function start({ model }) {
  const area = $("#texts");
  const place = $("#likeness");
  const texts = () => area.value.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, MOST);
  // A model without pooling has a vector for each token, which OpenAI's route cannot tell.
  const whole = () => model()?.meta.pooling !== "none";
  const request = () => ({ path: whole() ? "/v1/embeddings" : "/embeddings", body: { model: model()?.id ?? "", input: texts() } });
  const code = snippets($("#embeddings-code"), request);
  area.addEventListener("input", () => code());
  fill(place, empty("chart", "Nothing compared yet", "Press Compare: each pair of texts gets a number between 0 and 1, and a shade."));

  $("#embeddings-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = texts();
    if (given.length < 2) {
      fill(place, h("p", { class: "note warn", role: "alert" }, "Write at least two lines."));
      return;
    }
    fill(place, h("div", { class: "skeleton", role: "status" }, h("span", { class: "unseen" }, "Comparing")));
    const began = performance.now();
    try {
      const { path, body } = request();
      const told = await post(path, body);
      const vectors = whole() ? told.data.map((each) => each.embedding) : told.map((each) => mean(each.embedding));
      fill(place, table(given, vectors), whole() ? null : h("p", { class: "quiet small" },
        "This model was made for text, not for comparing: its tokens' vectors are averaged here, and everything looks rather alike. An embedding model tells more apart."));
      say($("#embeddings-rate"), `${vectors.length} texts, ${vectors[0].length} numbers each, in ${seconds(performance.now() - began)}`);
    } catch (error) {
      fill(place, h("p", { class: "note bad", role: "alert" }, error.message));
      say($("#embeddings-rate"), "");
    }
  });
  return { changed: () => code() };
}

function mean(vectors) {
  return vectors[0].map((_, at) => vectors.reduce((sum, vector) => sum + vector[at], 0) / vectors.length);
}

export function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, at) => sum + value * y[at], 0);
  return dot(a, b) / (Math.sqrt(dot(a, a) * dot(b, b)) || 1);
}

function table(texts, vectors) {
  const values = vectors.map((a) => vectors.map((b) => cosine(a, b)));
  const others = values.flatMap((row, y) => row.filter((_, x) => x !== y));
  const low = Math.min(...others);
  const high = Math.max(...others);
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Likeness of the texts" }, h("table", { class: "likeness" },
    h("thead", {}, h("tr", {}, h("td"), texts.map((_, at) => h("th", { scope: "col", class: "number" }, String(at + 1))))),
    h("tbody", {}, values.map((row, y) => h("tr", {},
      h("th", { scope: "row" }, h("span", { class: "clip" }, `${y + 1}  ${texts[y]}`)),
      row.map((value, x) => cell(value, x === y ? 0 : (value - low) / (high - low || 1), x === y)))))));
}

function cell(value, part, same) {
  const made = h("td", { class: same ? "quiet" : null }, value.toFixed(2));
  if (!same) made.style.background = `color-mix(in srgb, var(--accent-wash) ${Math.round(part * 100)}%, transparent)`;
  if (part > 0.999) made.style.fontWeight = "600";
  return made;
}
