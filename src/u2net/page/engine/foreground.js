/** The subject's own colours where they are mixed with what was behind it: u2net's cutout/matting/foreground.py. */

import { between, neighbours, reduced, smallSize } from "./small.js";

/** @import { Bytes, Pixels } from "./resample.js" */

const SAMPLES = 4; // of the pixels of the small picture, across and down
const ROUNDS = 2; // on each of its sizes
const LEAST = 1e-4; // weight of what is all subject, or all background, in the mean of the other
const TRUST = 0.8; // in alpha
const BLOCKS = 8; // of the full picture's pixels, in one of the small picture, with one value in common

/**
 * Take the background out of the colours of a picture, in place, where its alpha is neither nothing nor everything.
 *
 * @param {Pixels} picture
 * @param {Bytes} alpha
 */
export function cleanColors({ data, width, height }, alpha) {
  const [w, h] = smallSize(width, height);
  const colors = reduced(data, [width, height], { stride: 4, channels: 3, samples: SAMPLES });
  const planes = new Float32Array(colors.length);
  const length = w * h;
  for (let at = 0; at < colors.length; at += 1) planes[(at % 3) * length + Math.floor(at / 3)] = colors[at];
  const pair = pairOf(planes, reduced(alpha, [width, height], { samples: SAMPLES }), w, h);
  const maps = [0, 1, 2, 3, 4, 5].map((index) => pair.subarray(index * length, (index + 1) * length));
  const inBlocks = (/** @type {number} */ full, /** @type {number} */ num) =>
    neighbours(full, num, Math.max(1, Math.round(full / (num * BLOCKS))));
  const [columns, rows] = [inBlocks(width, w), inBlocks(height, h)];
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const at = row * width + column;
      if (alpha[at] === 0 || alpha[at] === 255) continue;
      const own = alpha[at] / 255;
      const gain = own / (1 - 2 * TRUST * own * (1 - own));
      for (let channel = 0; channel < 3; channel += 1) {
        const subject = between(maps[channel], w, columns, rows, column, row);
        const ground = between(maps[3 + channel], w, columns, rows, column, row);
        const rest = data[4 * at + channel] / 255 - ground - own * (subject - ground);
        data[4 * at + channel] = Math.trunc(Math.min(Math.max(subject + rest * gain, 0), 1) * 255 + 0.5);
      }
    }
  }
}

/**
 * Colours of the subject and of the background, six planes, from three planes of colour and the alpha.
 *
 * They start as those of half the size; each round corrects them so that they explain the colours, and takes the means
 * over 3 × 3 pixels, weighted by the square of alpha or of what is left of it.
 *
 * @param {Float32Array} colors
 * @param {Float32Array} alpha
 * @param {number} width
 * @param {number} height
 * @returns {Float32Array}
 */
function pairOf(colors, alpha, width, height) {
  const length = width * height;
  const pair = new Float32Array(6 * length);
  if (length === 1) {
    pair.set(colors);
    pair.set(colors, 3);
  } else {
    const [w, h] = [Math.ceil(width / 2), Math.ceil(height / 2)];
    const coarse = pairOf(halved(colors, width, height), halved(alpha, width, height), w, h);
    for (let at = 0; at < pair.length; at += 1) {
      const [column, row, plane] = [at % width, Math.floor(at / width) % height, Math.floor(at / length)];
      pair[at] = coarse[plane * w * h + (row >> 1) * w + (column >> 1)];
    }
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const rests = colors.map((color, at) => {
      const share = alpha[at % length];
      const told = share * pair[at] + (1 - share) * pair[3 * length + at];
      return (color - told) / (share * share + (1 - share) * (1 - share));
    });
    for (const side of [0, 1]) {
      const shares = side ? alpha.map((share) => 1 - share) : alpha;
      const weights = shares.map((share) => share * share + LEAST);
      const totals = windowSum(weights, width, height);
      for (let channel = 0; channel < 3; channel += 1) {
        const own = pair.subarray((3 * side + channel) * length, (3 * side + channel + 1) * length);
        const weighted = own.map((value, at) => (value + shares[at] * rests[channel * length + at]) * weights[at]);
        windowSum(weighted, width, height).forEach((sum, at) => {
          own[at] = Math.min(Math.max(sum / totals[at], 0), 1);
        });
      }
    }
  }
  return pair;
}

/**
 * Means of 2 × 2 values of each plane.
 *
 * @param {Float32Array} values
 * @param {number} width
 * @param {number} height
 */
function halved(values, width, height) {
  const [w, h] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const numPlanes = values.length / (width * height);
  return new Float32Array(numPlanes * w * h).map((_, at) => {
    const [column, row, plane] = [at % w, Math.floor(at / w) % h, Math.floor(at / (w * h))];
    const [left, right] = [2 * column, Math.min(2 * column + 1, width - 1)];
    const above = (plane * height + 2 * row) * width;
    const below = (plane * height + Math.min(2 * row + 1, height - 1)) * width;
    return (values[above + left] + values[below + left] + values[above + right] + values[below + right]) / 4;
  });
}

/**
 * Sums over 3 × 3 values; beyond the border is nothing.
 *
 * @param {Float32Array} values
 * @param {number} width
 * @param {number} height
 */
function windowSum(values, width, height) {
  const rows = values.map((value, at) => {
    const column = at % width;
    return value + (column ? values[at - 1] : 0) + (column < width - 1 ? values[at + 1] : 0);
  });
  return rows.map((value, at) => {
    const row = Math.floor(at / width);
    return value + (row ? rows[at - width] : 0) + (row < height - 1 ? rows[at + width] : 0);
  });
}
