// Chart: lines over the last hour, drawn as SVG. Pointer or arrow keys read single values; a sentence tells the rest.

import { h, say, svg } from "./dom.js";
import { clock } from "./format.js";

const WIDTH = 600;
const HEIGHT = 170;
const LEFT = 46;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 22;
const SPAN = 3600;

export class Chart {
  // `lines`: [{title, value(point) → number or null, empty: 0 or null for spans without a point}].
  constructor(title, lines, { format, zero = "Nothing in the last hour" }) {
    Object.assign(this, { title, lines, format, points: [], at: 0, step: 10, reading: -1 });
    this.grid = svg("g", { class: "grid-lines" });
    this.paths = lines.map((_, index) => ["area", "line", "points"].map((kind) => svg("path", { class: `${kind} s${index + 1}` })));
    this.mark = svg("g", { class: "mark", visibility: "hidden" });
    this.plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0, preserveAspectRatio: "none" }, this.grid, this.paths.flat(), this.mark);
    this.labels = h("div", { class: "labels", "aria-hidden": "true" });
    this.now = h("span", { class: "now" });
    this.readout = h("p", { class: "readout small quiet" });
    this.zero = h("p", { class: "zero quiet small" }, zero);
    this.element = h("figure", { class: "card chart" },
      h("figcaption", {}, h("h3", {}, title), this.now, lines.length > 1 ? h("span", { class: "legend" }, lines.map((line, index) => h("span", { class: `key s${index + 1}` }, line.title))) : null),
      h("div", { class: "plot" }, this.plot, this.labels, this.zero), this.readout);
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => this.read(-1));
    this.plot.addEventListener("blur", () => this.read(-1));
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.read(-1);
  }

  set(points, at, step) {
    Object.assign(this, { points, at, step });
    this.draw();
  }

  // One value for each span of the hour and each line.
  spans() {
    const end = Math.floor(this.at / this.step) * this.step;
    const begin = end - SPAN + this.step;
    const known = new Map(this.points.map((point) => [point.at, point]));
    const spans = [];
    for (let at = begin; at <= end; at += this.step) {
      const point = known.get(at);
      spans.push({ at, values: this.lines.map((line) => (point ? line.value(point) : line.empty)) });
    }
    return spans;
  }

  draw() {
    this.shown = this.spans();
    const all = this.shown.flatMap((span) => span.values).filter((value) => value !== null);
    const highest = Math.max(0, ...all);
    const top = nice(highest || 1);
    this.scale = { x: (index) => LEFT + ((WIDTH - LEFT - RIGHT) * index) / (this.shown.length - 1), y: (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / top };
    this.zero.hidden = highest > 0;
    this.ticks(top);
    this.paths.forEach(([area, line, points], index) => {
      const runs = this.runs(index);
      line.setAttribute("d", runs.map((run) => `M${run.join("L")}`).join(""));
      // A value that stands alone makes no line.
      points.setAttribute("d", runs.filter((run) => run.length === 1).map((run) => `M${run[0]}h0.01`).join(""));
      area.setAttribute("d", runs.map((run) => `M${run[0].split(",")[0]},${this.scale.y(0)}L${run.join("L")}L${run.at(-1).split(",")[0]},${this.scale.y(0)}Z`).join(""));
    });
    const latest = this.lines.map((_, index) => this.shown.findLast((span) => span.values[index] !== null)?.values[index] ?? null);
    say(this.now, highest > 0 && latest[0] !== null ? this.format(latest[0]) : "");
    this.plot.setAttribute("aria-label", highest > 0
      ? `${this.title} over the last hour. ${this.lines.map((line, index) => `${line.title}: now ${latest[index] === null ? "nothing" : this.format(latest[index])}`).join(", ")}; highest ${this.format(highest)}. Arrow keys read single values.`
      : `${this.title}: ${this.zero.textContent}`);
    if (this.reading >= 0) this.read(this.reading);
  }

  runs(index) {
    const runs = [];
    let run = [];
    this.shown.forEach((span, at) => {
      const value = span.values[index];
      if (value === null) {
        if (run.length) runs.push(run);
        run = [];
      } else run.push(`${this.scale.x(at).toFixed(1)},${this.scale.y(value).toFixed(1)}`);
    });
    if (run.length) runs.push(run);
    return runs;
  }

  ticks(top) {
    if (this.top === top) return;
    this.top = top;
    const values = [0, top / 2, top];
    this.grid.replaceChildren(...values.map((value) => svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: this.scale.y(value), y2: this.scale.y(value) })));
    const place = (text, left, upper, kind) => {
      const label = h("span", { class: kind }, text);
      label.style.left = `${(left / WIDTH) * 100}%`;
      label.style.top = `${(upper / HEIGHT) * 100}%`;
      return label;
    };
    this.labels.replaceChildren(...values.map((value) => place(value ? this.format(value) : "0", LEFT - 6, this.scale.y(value), "y")),
      ...[[60, "−60 min"], [30, "−30 min"], [0, "now"]].map(([minutes, text]) => place(text, LEFT + (WIDTH - LEFT - RIGHT) * (1 - minutes / 60), HEIGHT - BOTTOM + 4, `x m${minutes}`)));
  }

  point(event) {
    const box = this.plot.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    this.read(Math.round(((x - LEFT) / (WIDTH - LEFT - RIGHT)) * (this.shown.length - 1)));
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1e6, End: 1e6 }[event.key];
    if (!step || !this.shown) return;
    event.preventDefault();
    this.read((this.reading < 0 ? this.shown.length - 1 : this.reading) + step);
    this.readout.setAttribute("role", "status");
  }

  read(index) {
    const span = index >= 0 && this.shown ? this.shown[Math.min(Math.max(index, 0), this.shown.length - 1)] : null;
    this.reading = span ? this.shown.indexOf(span) : -1;
    this.mark.setAttribute("visibility", span ? "visible" : "hidden");
    if (!span) {
      say(this.readout, "");
      return;
    }
    const x = this.scale.x(this.reading);
    this.mark.replaceChildren(svg("line", { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }));
    say(this.readout, `${clock(span.at)}  ${this.lines.map((line, at) => `${this.lines.length > 1 ? `${line.title} ` : ""}${span.values[at] === null ? "–" : this.format(span.values[at])}`).join(" · ")}`);
  }
}

// The next of 1, 2, 2.5, 5 times a power of ten.
export function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= value * 0.999);
}
