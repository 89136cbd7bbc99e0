/** What is made of a picture and the alpha of its subject. */

import { cleanColors } from "./foreground.js";

/** @import { Bytes, Pixels } from "./resample.js" */

const BLOCK = 8; // pixels; colours survive this far around what shows, at least

/**
 * The cut-out of a picture: RGBA bytes, straight, in clean colours.
 *
 * Transparency that the picture has stays: the alpha is multiplied by it. Where nothing shows for several pixels around
 * colours become black, so that the background is gone.
 *
 * @param {Pixels} picture
 * @param {Bytes} alpha a byte a pixel
 */
export function cutOut({ data, width, height }, alpha) {
  const cut = { data: new Uint8ClampedArray(data), width, height };
  cleanColors(cut, alpha);
  for (let at = 0; at < alpha.length; at += 1) {
    cut.data[4 * at + 3] = Math.floor((alpha[at] * data[4 * at + 3]) / 255);
  }
  eraseHidden(cut);
  return cut;
}

/** @param {{data: Uint8ClampedArray, width: number, height: number}} cut */
function eraseHidden({ data, width, height }) {
  const [columns, rows] = [Math.ceil(width / BLOCK), Math.ceil(height / BLOCK)];
  const near = new Uint8Array(columns * rows); // blocks that hold or touch something that shows
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      if (data[4 * (row * width + column) + 3]) mark(Math.floor(row / BLOCK), Math.floor(column / BLOCK));
    }
  }
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const at = 4 * (row * width + column);
      if (!near[Math.floor(row / BLOCK) * columns + Math.floor(column / BLOCK)]) data.fill(0, at, at + 3);
    }
  }

  /** @type {(row: number, column: number) => void} */
  function mark(row, column) {
    for (let y = Math.max(0, row - 1); y <= Math.min(rows - 1, row + 1); y += 1) {
      near.fill(1, y * columns + Math.max(0, column - 1), y * columns + Math.min(columns, column + 2));
    }
  }
}
