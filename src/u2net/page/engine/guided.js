/** Alpha as a linear function of colour in each window of a picture: He's guided filter. */

/** @import { Bytes } from "./resample.js" */

const LEAST_VARIANCE = 1e-4; // of an alpha that there is anything to explain in

/** @typedef {Float32Array<ArrayBufferLike> | Float64Array<ArrayBufferLike>} Floats */

/**
 * Factors of red, green and blue, 0 to 1, and what is added.
 *
 * @typedef {[red: Floats, green: Floats, blue: Floats, constant: Floats]} Factors
 */

/**
 * Of the functions a·rgb + b that are nearest to `target` in the windows around each pixel, the mean.
 *
 * `colors` are RGBA bytes, `target` and `weights` floats, one a pixel. `epsilon` is the variance of colour that counts
 * for none. He, Sun, Tang: Guided Image Filtering, 2013, equations 14 to 16, weighted.
 *
 * @param {{colors: Bytes, target: Floats, weights: Floats, width: number, height: number, radius: number,
 *   epsilon: number}} options
 * @returns {Factors}
 */
export function fitted({ colors, target, weights, width, height, radius, epsilon }) {
  const length = width * height;
  const values = new Float32Array(length);
  const sum = (/** @type {(at: number) => number} */ value) => {
    for (let at = 0; at < length; at += 1) values[at] = value(at);
    return boxSum(values, width, height, radius);
  };
  const color = (/** @type {number} */ at, /** @type {number} */ channel) => colors[4 * at + channel] / 255;
  const total = sum((at) => weights[at]);
  const red = sum((at) => weights[at] * color(at, 0));
  const green = sum((at) => weights[at] * color(at, 1));
  const blue = sum((at) => weights[at] * color(at, 2));
  const products = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]].map(([one, other]) =>
    sum((at) => weights[at] * color(at, one) * color(at, other)),
  );
  const alpha = sum((at) => weights[at] * target[at]);
  const joint = [0, 1, 2].map((channel) => sum((at) => weights[at] * target[at] * color(at, channel)));

  const factors = [1, 2, 3, 4].map(() => new Float32Array(length));
  for (let at = 0; at < length; at += 1) {
    const scale = 1 / Math.max(total[at], 1e-6);
    const [r, g, b, mean] = [red[at] * scale, green[at] * scale, blue[at] * scale, alpha[at] * scale];
    const [x, y, z] = solved(
      products[0][at] * scale - r * r + epsilon,
      products[1][at] * scale - r * g,
      products[2][at] * scale - r * b,
      products[3][at] * scale - g * g + epsilon,
      products[4][at] * scale - g * b,
      products[5][at] * scale - b * b + epsilon,
      [joint[0][at] * scale - r * mean, joint[1][at] * scale - g * mean, joint[2][at] * scale - b * mean],
    );
    factors[0][at] = x;
    factors[1][at] = y;
    factors[2][at] = z;
    factors[3][at] = mean - x * r - y * g - z * b;
  }
  const count = boxSum(new Float32Array(length).fill(1), width, height, radius);
  const means = (/** @type {Floats} */ factor) =>
    boxSum(factor, width, height, radius).map((value, at) => value / count[at]);
  return [means(factors[0]), means(factors[1]), means(factors[2]), means(factors[3])];
}

/**
 * The functions of colour that are nearest to `alpha`, as far as colour tells: the share of alpha's variance that it
 * does not explain is left to alpha. As `LinearAlpha.fit_as_told` of u2net's cutout/matting/guided.py.
 *
 * @param {Float32Array} colors red, green and blue of each pixel, 0 to 1
 * @param {Float32Array} alpha
 * @returns {Factors}
 */
export function fittedAsTold(colors, alpha, { width = 1, height = 1, radius = 1, epsilon = 1e-4 }) {
  const mean = (/** @type {Floats} */ values) => boxMean(values, width, height, radius);
  const color = (/** @type {number} */ channel) => alpha.map((_, at) => colors[3 * at + channel]);
  const planes = [color(0), color(1), color(2), alpha];
  const means = planes.map(mean);
  const [rr, rg, rb, ra, gg, gb, ga, bb, ba, aa] = planes.flatMap((one, first) =>
    planes.slice(first).map((other, after) => {
      const products = mean(Float64Array.from(one, (value, at) => value * other[at]));
      return products.map((value, at) => value - means[first][at] * means[first + after][at]);
    }),
  );
  const slopes = [0, 1, 2].map(() => new Float64Array(alpha.length));
  const rest = new Float64Array(alpha.length);
  const told = new Float64Array(alpha.length);
  for (let at = 0; at < alpha.length; at += 1) {
    const joint = [ra[at], ga[at], ba[at]];
    const found = solved(rr[at] + epsilon, rg[at], rb[at], gg[at] + epsilon, gb[at], bb[at] + epsilon, joint);
    let explained = 0;
    rest[at] = means[3][at];
    found.forEach((slope, channel) => {
      slopes[channel][at] = slope;
      rest[at] -= slope * means[channel][at];
      explained += slope * joint[channel];
    });
    told[at] = Math.min(Math.max(explained / Math.max(aa[at], LEAST_VARIANCE), 0), 1);
  }
  const [red, green, blue] = slopes.map((slope) => mean(slope).map((value, at) => value * told[at]));
  return [red, green, blue, mean(rest).map((value, at) => value * told[at] + alpha[at] * (1 - told[at]))];
}

/**
 * 0 to 1, and exactly the one or the other where a function is this near to it.
 *
 * @param {number} value
 */
export function unfogged(value) {
  return value < 0.04 ? 0 : value > 0.96 ? 1 : value;
}

/**
 * The solution of a symmetric system of three, by Cramer's rule.
 *
 * @type {(xx: number, xy: number, xz: number, yy: number, yz: number, zz: number, right: number[]) =>
 *   [x: number, y: number, z: number]}
 */
function solved(xx, xy, xz, yy, yz, zz, [x, y, z]) {
  const [a, b, c] = [yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy];
  const [d, e, f] = [xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy];
  const scale = 1 / (xx * a + xy * b + xz * c);
  return [(a * x + b * y + c * z) * scale, (b * x + d * y + e * z) * scale, (c * x + e * y + f * z) * scale];
}

/**
 * Sums over the squares of `2 * radius + 1` around each pixel, as far as they lie in the picture.
 *
 * @param {Floats} values
 * @param {number} width
 * @param {number} height
 * @param {number} radius
 */
function boxSum(values, width, height, radius) {
  const rows = new Float64Array(values.length);
  for (let row = 0; row < height; row += 1) slide(values, rows, row * width, 1, width, radius);
  const sums = new Float64Array(values.length);
  for (let column = 0; column < width; column += 1) slide(rows, sums, column, width, height, radius);
  return sums;
}

/** @type {(from: Floats, to: Floats, start: number, step: number, length: number, radius: number) => void} */
function slide(from, to, start, step, length, radius) {
  let sum = 0;
  for (let at = 0; at < Math.min(radius, length); at += 1) sum += from[start + at * step];
  for (let at = 0; at < length; at += 1) {
    if (at + radius < length) sum += from[start + (at + radius) * step];
    if (at > radius) sum -= from[start + (at - radius - 1) * step];
    to[start + at * step] = sum;
  }
}

/**
 * Means over such squares; beyond the border its pixels are repeated.
 *
 * @param {Floats} values
 * @param {number} width
 * @param {number} height
 * @param {number} radius
 */
function boxMean(values, width, height, radius) {
  const [wide, high] = [width + 2 * radius, height + 2 * radius];
  const padded = new Float64Array(wide * high);
  for (let at = 0; at < padded.length; at += 1) {
    const row = Math.min(Math.max(Math.floor(at / wide) - radius, 0), height - 1);
    const column = Math.min(Math.max((at % wide) - radius, 0), width - 1);
    padded[at] = values[row * width + column];
  }
  const sums = boxSum(padded, wide, high, radius);
  const num = (2 * radius + 1) ** 2;
  return new Float64Array(values.length).map((_, at) => {
    const [column, row] = [at % width, Math.floor(at / width)];
    return sums[(row + radius) * wide + column + radius] / num;
  });
}
