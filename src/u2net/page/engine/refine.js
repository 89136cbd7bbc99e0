/** From the network's coarse mask to an alpha that follows the picture: "fast" of cutout/matting/refine.py. */

import { fittedAsTold } from "./guided.js";
import { between, nearest, neighbours, reduced, smallSize } from "./small.js";

/** @import { Bytes, Pixels, Size } from "./resample.js" */

const CERTAIN_BACKGROUND = Math.fround(5 / 255); // as exact as the small mask itself
const CERTAIN_SUBJECT = Math.fround(250 / 255);
const MARGIN = 2; // pixels of the small picture; what is certain must be so this far around
const RADIUS = 4;
const FLAT = 1e-4; // variance of colour that is taken for none
const FOG = 0.05; // alpha this near to nothing or to everything is taken for that
const SAMPLES = 8; // of the pixels of the small picture, across and down
const DETAIL = 1024; // longer side; what hangs together is looked at in squares that are as fine as this

/**
 * The alpha of the subject that a mask shows, a byte a pixel of the picture.
 *
 * Where the mask is certain it is made 0 or 255; the band between follows the picture's colours. What shows without a
 * connection to anything that is more subject than not is taken away.
 *
 * @param {Pixels} picture
 * @param {Bytes} mask
 * @param {Size} size of the mask, the picture's or as `maskSize` says
 */
export function refined({ data, width, height }, mask, size) {
  const [w, h] = smallSize(width, height);
  const coarse = reduced(mask, size);
  const colors = reduced(data, [width, height], { stride: 4, channels: 3, samples: SAMPLES });
  const band = uncertain(coarse, w, h);
  const factors = fittedAsTold(colors, coarse, { width: w, height: h, radius: RADIUS, epsilon: FLAT });
  const [columns, rows] = [neighbours(width, w), neighbours(height, h)];
  const [nearColumns, nearRows] = [nearest(width, w), nearest(height, h)];
  const [maskColumns, maskRows] = [nearest(width, size[0]), nearest(height, size[1])];
  const alpha = new Uint8ClampedArray(width * height);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const at = row * width + column;
      if (!band[nearRows[row] * w + nearColumns[column]]) {
        alpha[at] = mask[maskRows[row] * size[0] + maskColumns[column]] >= 128 ? 255 : 0;
        continue;
      }
      let told = between(factors[3], w, columns, rows, column, row);
      for (let channel = 0; channel < 3; channel += 1) {
        told += (between(factors[channel], w, columns, rows, column, row) * data[4 * at + channel]) / 255;
      }
      alpha[at] = Math.trunc(((Math.min(Math.max(told, 0), 1) - FOG) * 255) / (1 - 2 * FOG) + 0.5);
    }
  }
  clearSpecks(alpha, width, height);
  return alpha;
}

/**
 * Make 0 what shows and hangs together with nothing of more than one half, unless there is nothing of that.
 *
 * @param {Uint8ClampedArray} alpha
 * @param {number} width
 * @param {number} height
 */
function clearSpecks(alpha, width, height) {
  const side = Math.ceil(Math.max(width, height) / DETAIL);
  const [columns, rows] = [Math.ceil(width / side), Math.ceil(height / side)];
  const highest = new Uint8Array(columns * rows); // of each square
  const squares = Int32Array.from({ length: width }, (_, column) => Math.floor(column / side));
  const square = (/** @type {number} */ row, /** @type {number} */ column) =>
    Math.floor(row / side) * columns + squares[column];
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const [at, value] = [square(row, column), alpha[row * width + column]];
      if (value > highest[at]) highest[at] = value;
    }
  }
  const stays = hangingTogether(highest, columns);
  if (!stays.includes(1)) return;
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      if (!stays[square(row, column)]) alpha[row * width + column] = 0;
    }
  }
}

/**
 * Where levels above nothing hang together, across and down, with one above one half.
 *
 * @param {Uint8Array} levels
 * @param {number} width
 */
function hangingTogether(levels, width) {
  const found = levels.map((level) => Number(level > 127));
  const waiting = [...found.keys()].filter((at) => found[at]);
  const visit = (/** @type {number} */ at) => {
    if (!levels[at] || found[at]) return;
    found[at] = 1;
    waiting.push(at);
  };
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    const column = at % width;
    if (column > 0) visit(at - 1);
    if (column < width - 1) visit(at + 1);
    if (at >= width) visit(at - width);
    if (at + width < levels.length) visit(at + width);
  }
  return found;
}

/**
 * Where neither subject nor background is certain.
 *
 * @param {Float32Array} coarse
 * @param {number} width
 * @param {number} height
 */
function uncertain(coarse, width, height) {
  const within = (/** @type {(value: number) => boolean} */ isCertain) =>
    everywhereWithin(Uint8Array.from(coarse, (value) => Number(isCertain(value))), width, height);
  const subject = within((value) => value > CERTAIN_SUBJECT);
  const ground = within((value) => value < CERTAIN_BACKGROUND);
  return subject.map((isSubject, at) => 1 - (isSubject | ground[at]));
}

/**
 * Pixels around which a mask of 0 and 1 is 1, as far as the picture reaches.
 *
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 */
function everywhereWithin(mask, width, height) {
  for (const [step, length] of [[width, height], [1, width]]) {
    const before = mask;
    mask = before.map((value, at) => {
      const place = Math.floor(at / step) % length;
      for (let away = -MARGIN; away <= MARGIN && value; away += 1) {
        if (place + away >= 0 && place + away < length) value &= before[at + away * step];
      }
      return value;
    });
  }
  return mask;
}
