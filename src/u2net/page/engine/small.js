/** The small picture on which outlines and colours are decided, and what its maps say of the full one. */

import { resampled } from "./resample.js";

/** @import { Bytes, Size } from "./resample.js" */

const SIDE = 256; // pixels, the longer side
const SHORTER = 320; // side that a mask has at least, as the network's map has it; more change nothing

/**
 * The size of the small picture.
 *
 * @param {number} width
 * @param {number} height
 * @returns {Size}
 */
export function smallSize(width, height) {
  const scale = Math.min(1, SIDE / Math.max(width, height));
  const toEven = (/** @type {number} */ side) => (side % 1 === 0.5 ? 2 * Math.round(side / 2) : Math.round(side));
  return [Math.max(1, toEven(width * scale)), Math.max(1, toEven(height * scale))];
}

/**
 * The size at which a mask tells as much as at that of its picture, which may be larger.
 *
 * @param {number} width
 * @param {number} height
 * @returns {Size}
 */
export function maskSize(width, height) {
  const [w, h] = smallSize(width, height);
  const times = Math.ceil(SHORTER / Math.min(w, h));
  return Math.max(width, height) <= times * SIDE ? [width, height] : [times * w, times * h];
}

/**
 * Bytes at the small picture's size, 0 to 1. A pixel is the mean of those that it stands for, or of `samples` times
 * `samples` of them. `stride` and `channels` are as `resampled` takes them.
 *
 * @param {Bytes} values
 * @param {Size} full
 * @returns {Float32Array}
 */
export function reduced(values, full, { stride = 1, channels = 1, samples = Infinity } = {}) {
  const size = smallSize(...full);
  const isMany = samples * size[0] < full[0] && samples * size[1] < full[1];
  const means = isMany
    ? meansOfSome(values, full, size, { stride, channels, samples })
    : resampled(values, full, size, "box", { stride, channels });
  return Float32Array.from(means, (value) => value / 255);
}

/**
 * Of `num` samples, that which lies nearest to each of `full` pixels.
 *
 * @param {number} full
 * @param {number} num
 */
export function nearest(full, num) {
  return Int32Array.from({ length: full }, (_, at) => Math.trunc((at + 0.5) * (num / full)));
}

/** @typedef {object} Neighbours The samples before and after each of some pixels, and how far it is from the first.
 * @property {Int32Array} before
 * @property {Int32Array} after
 * @property {Float64Array} share
 */

/**
 * Where `full` pixels lie between `num` samples. Each `step` of them count as in the middle of them all.
 *
 * @param {number} full
 * @param {number} num
 * @param {number} step
 * @returns {Neighbours}
 */
export function neighbours(full, num, step = 1) {
  const places = Float64Array.from({ length: full }, (_, at) => {
    const middle = (Math.floor(at / step) + 0.5) * step;
    return Math.min(Math.max((middle * num) / full - 0.5, 0), num - 1);
  });
  const before = Int32Array.from(places, (place) => Math.max(0, Math.min(Math.floor(place), num - 2)));
  return {
    before,
    after: before.map((place) => Math.min(place + 1, num - 1)),
    share: places.map((place, at) => place - before[at]),
  };
}

/**
 * A map of a small picture at a pixel of the full one, bilinearly.
 *
 * @param {ArrayLike<number>} values
 * @param {number} width of the small picture
 * @param {Neighbours} columns
 * @param {Neighbours} rows
 * @param {number} column
 * @param {number} row
 */
export function between(values, width, columns, rows, column, row) {
  const [above, below] = [rows.before[row] * width, rows.after[row] * width];
  const [left, right, share] = [columns.before[column], columns.after[column], columns.share[column]];
  const upper = values[above + left] + share * (values[above + right] - values[above + left]);
  const lower = values[below + left] + share * (values[below + right] - values[below + left]);
  return upper + rows.share[row] * (lower - upper);
}

/**
 * Means of `samples` times `samples` pixels each, which lie at even distances.
 *
 * @param {Bytes} values
 * @param {Size} full
 * @param {Size} size
 * @param {{ stride: number, channels: number, samples: number }} options
 */
function meansOfSome(values, full, [width, height], { stride, channels, samples }) {
  const [columns, rows] = [nearest(samples * width, full[0]), nearest(samples * height, full[1])];
  const sums = new Uint32Array(width * height * channels);
  rows.forEach((row, y) => {
    columns.forEach((column, x) => {
      const from = (row * full[0] + column) * stride;
      const to = (Math.floor(y / samples) * width + Math.floor(x / samples)) * channels;
      for (let channel = 0; channel < channels; channel += 1) sums[to + channel] += values[from + channel];
    });
  });
  return Uint8Array.from(sums, (sum) => Math.floor(sum / samples ** 2 + 0.5));
}
