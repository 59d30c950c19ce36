// Mask: paints over a picture what shall be drawn anew; by pointer, or by keys with a brush that moves.

import { button, h } from "./dom.js";

const INK = "rgb(255, 64, 129)";

export class Mask {
  // `picture` is an image that has been loaded; `changed` is called when something was painted.
  constructor(picture, changed) {
    this.width = picture.naturalWidth;
    this.height = picture.naturalHeight;
    this.changed = changed;
    this.strokes = [];
    // Small pictures would give coarse strokes.
    const scale = Math.max(1, 512 / Math.max(this.width, this.height));
    this.canvas = h("canvas", { width: Math.round(this.width * scale), height: Math.round(this.height * scale), tabindex: 0, role: "application",
      "aria-label": "Mask. Arrow keys move the brush, space paints, Z takes the last stroke back" });
    this.brush = this.canvas.width / 8;
    this.erasing = false;
    this.cursor = null;
    this.size = h("input", { type: "range", min: 2, max: 40, value: 12, "aria-label": "Brush size" });
    this.size.addEventListener("input", () => { this.brush = (this.canvas.width * this.size.value) / 100; });
    this.eraser = button("Erase", () => this.toggle(), { kind: "little", "aria-pressed": "false" });
    const shown = picture.cloneNode();
    shown.removeAttribute("class");
    this.element = h("div", { class: "painting" }, shown, this.canvas);
    this.tools = h("div", { class: "row" }, h("span", { class: "label" }, "Brush"), h("span", { class: "grow" }, this.size), this.eraser,
      button("Undo", () => this.undo(), { kind: "little", glyph: "undo" }), button("Clear", () => this.clear(), { kind: "little" }));
    this.listen();
  }

  listen() {
    let stroke = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.cursor = null;
      stroke = { erase: this.erasing, width: this.brush, points: [this.at(event)] };
      this.strokes.push(stroke);
      this.draw();
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!stroke) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) stroke.points.push(this.at(each));
      this.draw();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => {
        if (stroke) this.changed();
        stroke = null;
      });
    }
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => { this.cursor = null; this.draw(); });
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.canvas.width, ((event.clientY - box.top) / box.height) * this.canvas.height];
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (moves[event.key]) {
      const [x, y] = this.cursor ?? [this.canvas.width / 2, this.canvas.height / 2];
      const [dx, dy] = moves[event.key];
      const step = this.brush / (event.shiftKey ? 8 : 2);
      this.cursor = [clamp(x + dx * step, this.canvas.width), clamp(y + dy * step, this.canvas.height)];
    } else if (event.key === " ") {
      this.cursor ??= [this.canvas.width / 2, this.canvas.height / 2];
      this.strokes.push({ erase: this.erasing, width: this.brush, points: [this.cursor] });
      this.changed();
    } else if (event.key === "z") this.undo();
    else return;
    event.preventDefault();
    this.draw();
  }

  toggle() {
    this.erasing = !this.erasing;
    this.eraser.setAttribute("aria-pressed", this.erasing);
    this.eraser.classList.toggle("main", this.erasing);
  }

  undo() {
    this.strokes.pop();
    this.draw();
    this.changed();
  }

  clear() {
    this.strokes = [];
    this.draw();
    this.changed();
  }

  get empty() {
    return !this.strokes.some((stroke) => !stroke.erase);
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    paint(context, this.strokes, INK);
    if (!this.cursor) return;
    context.globalCompositeOperation = "source-over";
    context.lineWidth = 3;
    context.strokeStyle = "#fff";
    context.beginPath();
    context.arc(...this.cursor, this.brush / 2, 0, 2 * Math.PI);
    context.stroke();
    context.lineWidth = 1;
    context.strokeStyle = "#000";
    context.stroke();
  }

  // The mask as a PNG in base64: white is drawn anew.
  encoded() {
    const layer = h("canvas", { width: this.canvas.width, height: this.canvas.height });
    paint(layer.getContext("2d"), this.strokes, "#fff");
    const whole = h("canvas", { width: this.width, height: this.height });
    const context = whole.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.width, this.height);
    context.drawImage(layer, 0, 0, this.width, this.height);
    return whole.toDataURL("image/png").split(",")[1];
  }
}

function paint(context, strokes, ink) {
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const stroke of strokes) {
    context.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
    context.strokeStyle = ink;
    context.fillStyle = ink;
    context.lineWidth = stroke.width;
    context.beginPath();
    if (stroke.points.length === 1) {
      context.arc(...stroke.points[0], stroke.width / 2, 0, 2 * Math.PI);
      context.fill();
    } else {
      context.moveTo(...stroke.points[0]);
      for (const point of stroke.points.slice(1)) context.lineTo(...point);
      context.stroke();
    }
  }
  context.globalCompositeOperation = "source-over";
}

function clamp(value, high) {
  return Math.min(Math.max(value, 0), high);
}
