/** A picture that is open: its pixels on the screen's scale, the alpha that strokes change, and the way back. */

import { alphaOf, pixelsOf, withAlpha } from "./canvas.js";
import { solve } from "./matte-client.js";

const LONGER_SIDE = 1280;

export class Retouching {
  /** `file` is the picture and `cutout` what the service made of it; `alpha` and `strokes` are of an earlier time. */
  static async open({ file, cutout, retouched }) {
    const [original, cut] = await Promise.all([createImageBitmap(file), createImageBitmap(cutout)]);
    const scale = Math.min(1, LONGER_SIDE / Math.max(cut.width, cut.height));
    const [width, height] = [cut.width, cut.height].map((side) => Math.max(1, Math.round(side * scale)));
    const opened = new Retouching(pixelsOf(original, width, height), pixelsOf(cut, width, height), retouched);
    original.close();
    cut.close();
    return opened;
  }

  constructor(original, cutout, retouched) {
    this.original = original;
    this.cutout = cutout;
    this.given = alphaOf(cutout);
    this.alpha = retouched?.alpha ?? this.given;
    this.before = retouched?.before ?? [];
  }

  /** What is kept when the picture is closed; nothing where nothing was changed. */
  get retouched() {
    return this.before.length ? { alpha: this.alpha, before: this.before } : null;
  }

  get width() {
    return this.cutout.width;
  }

  get height() {
    return this.cutout.height;
  }

  /** The cut-out as it is now. */
  get image() {
    return this.alpha === this.given ? this.cutout : withAlpha(this.cutout, this.original, this.alpha);
  }

  /** Keep or erase along `points`. */
  async stroke(points, radius, isKeeping) {
    const area = this.#around(points, 3 * radius + 4);
    const cut = ([x, y]) => [x - area.left, y - area.top];
    const solved = await solve({
      stroke: {
        colors: copied(this.original.data, this.width, area, 4),
        alpha: copied(this.alpha, this.width, area, 1),
        width: area.width,
        height: area.height,
        points: points.map(cut),
        radius,
        isKeeping,
      },
    });
    const alpha = this.alpha.slice();
    for (let row = 0; row < area.height; row += 1) {
      const line = solved.subarray(row * area.width, (row + 1) * area.width);
      alpha.set(line, (area.top + row) * this.width + area.left);
    }
    this.before.push(this.alpha);
    if (this.before.length > 20) this.before.splice(1, 1); // the first is the way back to what the service made
    this.alpha = alpha;
  }

  /** Take the last stroke back. */
  undo() {
    this.alpha = this.before.pop() ?? this.alpha;
  }

  #around(points, margin) {
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    const within = (value, most) => Math.round(Math.min(Math.max(value, 0), most));
    const left = within(Math.min(...xs) - margin, this.width - 1);
    const top = within(Math.min(...ys) - margin, this.height - 1);
    const width = within(Math.max(...xs) + margin, this.width) - left;
    const height = within(Math.max(...ys) + margin, this.height) - top;
    return { left, top, width: Math.max(width, 1), height: Math.max(height, 1) };
  }
}

function copied(values, stride, { left, top, width, height }, channels) {
  const part = new Uint8ClampedArray(width * height * channels);
  for (let row = 0; row < height; row += 1) {
    const start = ((top + row) * stride + left) * channels;
    part.set(values.subarray(start, start + width * channels), row * width * channels);
  }
  return part;
}
