/** The picture that is looked at: before and after under a slider, or the cut-out under a brush. */

import { drawBackground, drawOver } from "./canvas.js";

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Stage {
  /** `root` is the stage's element; `onStroke` is given the points of each stroke. */
  constructor(root, onStroke) {
    this.root = root;
    this.frame = root.querySelector(".frame");
    [this.before, this.after, this.marks] = ["before", "after", "marks"].map((name) => root.querySelector(`.${name}`));
    this.split = root.querySelector("#split");
    this.onStroke = onStroke;
    this.radius = 24;
    this.mode = "compare";
    this.points = [];
    this.cursor = null;
    this.split.addEventListener("input", () => this.#divide());
    this.marks.addEventListener("pointerdown", (event) => this.#begin(event));
    this.marks.addEventListener("pointermove", (event) => this.#move(event));
    this.marks.addEventListener("pointerup", () => this.#end());
    this.marks.addEventListener("pointercancel", () => this.#end());
    this.marks.addEventListener("pointerleave", () => this.#point(null));
    this.marks.addEventListener("keydown", (event) => this.#press(event));
    this.marks.addEventListener("blur", () => this.#point(null));
    this.#divide();
  }

  /** Show an open picture over a background. Under a brush, what was cut away shines through instead. */
  show(open, name, background) {
    const { width, height } = open;
    for (const canvas of [this.before, this.after, this.marks]) {
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    }
    this.frame.style.setProperty("--ratio", width / height);
    this.frame.dataset.mode = this.mode;
    this.before.getContext("2d").putImageData(open.original, 0, 0);
    const context = this.after.getContext("2d");
    drawBackground(context, this.mode === "compare" ? background : {});
    drawOver(context, open.image);
    this.after.setAttribute("aria-label", `${name}, cut out`);
    this.split.disabled = this.mode !== "compare";
    this.marks.hidden = this.mode === "compare";
    this.marks.setAttribute("aria-label", `${name}: ${this.mode === "keep" ? "keep" : "erase"} with the brush`);
  }

  #divide() {
    const share = Number(this.split.value);
    this.frame.style.setProperty("--split", `${share}%`);
    this.split.setAttribute("aria-valuetext", `${share} % before, ${100 - share} % after`);
  }

  #begin(event) {
    if (event.button) return;
    this.marks.setPointerCapture(event.pointerId);
    this.points = [this.#place(event)];
    this.#point(this.points[0]);
  }

  #move(event) {
    const place = this.#place(event);
    if (this.points.length) this.points.push(...event.getCoalescedEvents().map((each) => this.#place(each)), place);
    this.#point(place);
  }

  #end() {
    const points = this.points;
    this.points = [];
    this.#point(this.cursor);
    if (points.length) this.onStroke(points);
  }

  /** Arrows move the brush, with Shift it paints on its way, Space paints where it is. */
  #press(event) {
    const step = STEPS[event.key];
    const { width, height } = this.marks;
    const from = this.cursor ?? [width / 2, height / 2];
    if (event.key === " ") this.onStroke([from]);
    else if (!step) return;
    const pace = this.radius / 2;
    const to = step
      ? [within(from[0] + step[0] * pace, width), within(from[1] + step[1] * pace, height)]
      : from;
    if (step && event.shiftKey) this.onStroke([from, to]);
    this.#point(to);
    event.preventDefault();
  }

  #place(event) {
    const { left, top, width, height } = this.marks.getBoundingClientRect();
    const [x, y] = [(event.clientX - left) / width, (event.clientY - top) / height];
    return [within(x, 1) * this.marks.width, within(y, 1) * this.marks.height];
  }

  /** Draw the stroke so far, and the brush. */
  #point(cursor) {
    this.cursor = cursor;
    const context = this.marks.getContext("2d");
    context.clearRect(0, 0, this.marks.width, this.marks.height);
    context.lineCap = context.lineJoin = "round";
    if (this.points.length) {
      context.strokeStyle = this.mode === "keep" ? "rgb(31 157 104 / 55%)" : "rgb(214 69 51 / 55%)";
      context.lineWidth = 2 * this.radius;
      context.beginPath();
      context.moveTo(...this.points[0]);
      for (const point of this.points) context.lineTo(...point);
      context.stroke();
    }
    if (!cursor) return;
    for (const [color, lineWidth] of [["rgb(0 0 0 / 60%)", 4], ["white", 2]]) {
      Object.assign(context, { strokeStyle: color, lineWidth });
      context.beginPath();
      context.arc(...cursor, this.radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}

function within(value, most) {
  return Math.min(Math.max(value, 0), most);
}
