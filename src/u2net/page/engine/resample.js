/** Maps and pictures at another size, bit for bit as Pillow's resize gives them. */

/** @typedef {"box" | "bilinear" | "bicubic" | "lanczos"} Kernel */
/** @typedef {[width: number, height: number]} Size */
/** @typedef {Uint8Array | Uint8ClampedArray} Bytes */

/** @typedef {object} Pixels RGBA bytes, straight, row by row; an ImageData is one.
 * @property {Bytes} data
 * @property {number} width
 * @property {number} height
 */

const PRECISION = 22; // bits behind the point of a weight

/** @param {number} x */
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** @type {Record<Kernel, {reach: number, weight: (x: number) => number}>} */
const KERNELS = {
  box: { reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, weight: (x) => cubic(Math.abs(x)) },
  lanczos: { reach: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** Whether there is a kernel of that name. @param {string} name */
export function isKernel(name) {
  return Object.hasOwn(KERNELS, name);
}

/**
 * Bytes at another size. A pixel has `stride` of them, of which the first `channels` are taken, and no others given.
 *
 * @param {Bytes} values
 * @param {Size} from
 * @param {Size} to
 * @param {Kernel} kernel
 */
export function resampled(values, [width, height], [newWidth, newHeight], kernel, { stride = 1, channels = 1 } = {}) {
  const rows = (/** @type {Bytes} */ lines, /** @type {number} */ num, /** @type {number} */ step) =>
    alongRows(lines, width, num, newWidth, kernel, step, channels);
  const columns = (/** @type {Bytes} */ lines, /** @type {number} */ num, /** @type {number} */ step) =>
    alongColumns(lines, num, height, newHeight, kernel, step, channels);
  if (newHeight === height) return rows(values, height, stride);
  if (newWidth === width) return columns(values, width, stride);
  const columnsFirst = newHeight < height && height - newHeight > 2 * (width - newWidth); // as Pillow 13 has it
  return columnsFirst
    ? rows(columns(values, width, stride), newHeight, channels)
    : columns(rows(values, height, stride), newWidth, channels);
}

/**
 * @type {(values: Bytes, width: number, height: number, newWidth: number, kernel: Kernel, stride: number,
 *   channels: number) => Bytes}
 */
function alongRows(values, width, height, newWidth, kernel, stride, channels) {
  const result = new Uint8ClampedArray(newWidth * height * channels);
  const { first, num, weights, most } = taps(width, newWidth, kernel);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < newWidth; column += 1) {
      const start = (row * width + first[column]) * stride;
      for (let channel = 0; channel < channels; channel += 1) {
        let sum = 1 << (PRECISION - 1);
        for (let tap = 0; tap < num[column]; tap += 1) {
          sum += values[start + tap * stride + channel] * weights[column * most + tap];
        }
        result[(row * newWidth + column) * channels + channel] = sum >> PRECISION;
      }
    }
  }
  return result;
}

/**
 * @type {(values: Bytes, width: number, height: number, newHeight: number, kernel: Kernel, stride: number,
 *   channels: number) => Bytes}
 */
function alongColumns(values, width, height, newHeight, kernel, stride, channels) {
  const result = new Uint8ClampedArray(width * newHeight * channels);
  const { first, num, weights, most } = taps(height, newHeight, kernel);
  const sums = new Float64Array(width * channels);
  for (let row = 0; row < newHeight; row += 1) {
    sums.fill(1 << (PRECISION - 1));
    for (let tap = 0; tap < num[row]; tap += 1) {
      const weight = weights[row * most + tap];
      const start = (first[row] + tap) * width * stride;
      if (stride === channels) {
        for (let at = 0; at < sums.length; at += 1) sums[at] += values[start + at] * weight;
      } else {
        for (let column = 0; column < width; column += 1) {
          for (let channel = 0; channel < channels; channel += 1) {
            sums[column * channels + channel] += values[start + column * stride + channel] * weight;
          }
        }
      }
    }
    const line = row * sums.length;
    for (let at = 0; at < sums.length; at += 1) result[line + at] = sums[at] >> PRECISION;
  }
  return result;
}

/**
 * For each of `to` samples of a line of `length`, where its neighbours begin, how many they are, and their weights, of
 * which each has room for `most`. A kernel is widened where it shrinks the line.
 *
 * @param {number} length
 * @param {number} to
 * @param {Kernel} kernel
 */
function taps(length, to, kernel) {
  const { reach, weight } = KERNELS[kernel];
  const scale = length / to;
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  const most = 2 * Math.ceil(support) + 1;
  const [first, num, weights] = [new Int32Array(to), new Int32Array(to), new Int32Array(to * most)];
  for (let at = 0; at < to; at += 1) {
    const center = (at + 0.5) * scale;
    first[at] = Math.max(0, Math.trunc(center - support + 0.5));
    num[at] = Math.min(length, Math.trunc(center + support + 0.5)) - first[at];
    const shares = Array.from({ length: num[at] }, (_, tap) => weight((first[at] + tap - center + 0.5) / stretch));
    const total = shares.reduce((sum, share) => sum + share, 0) || 1;
    shares.forEach((share, tap) => {
      const fixed = (share / total) * 2 ** PRECISION;
      weights[at * most + tap] = Math.trunc(fixed + (fixed < 0 ? -0.5 : 0.5));
    });
  }
  return { first, num, weights, most };
}

/** Keys' kernel, of a distance, with a = -0.5. @param {number} x */
function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}
