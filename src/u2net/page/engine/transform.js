/** How a picture becomes a network's input, and its output a mask: u2net's models/transform.py for browsers. */

import { isKernel, resampled } from "./resample.js";

/** @import { Bytes, Kernel, Pixels, Size } from "./resample.js" */

/** @typedef {object} Transform
 * @property {Size} size of what the network sees; the picture is squashed to it
 * @property {Exclude<Kernel, "box">} resample shrinks the picture
 * @property {boolean} antialias whether it widens when it shrinks; false goes with "bilinear"
 * @property {"max" | "255"} divisor of levels: the largest that the small picture has, or 255
 * @property {number[]} mean subtracted from red, green and blue, 0 to 1
 * @property {number[]} std then divided by
 * @property {"probabilities" | "logits"} output of the network
 * @property {boolean} stretch whether a map is stretched to fill 0 to 1
 * @property {Exclude<Kernel, "box">} upsample brings the map to the picture's size
 */

/** @typedef {object} Output What a network puts out for one picture: a map for each class, or one of the subject.
 * @property {Float32Array} data
 * @property {number} classes
 * @property {number} width
 * @property {number} height
 */

/** As the authors feed their weights. @type {Transform} */
const AUTHORS = {
  size: [320, 320],
  resample: "bilinear",
  antialias: false,
  divisor: "max",
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
  output: "probabilities",
  stretch: true,
  upsample: "bilinear",
};

const CLOSE = 64; // levels: what shows and is so close to the ground behind it is hardly seen

/**
 * The Transform of some fields; all others are as the authors feed their weights.
 *
 * @param {Partial<Transform>} fields
 * @returns {Transform}
 */
export function newTransform(fields) {
  const transform = { ...AUTHORS, ...fields };
  const unknown = Object.keys(transform).filter((name) => !Object.hasOwn(AUTHORS, name));
  if (unknown.length) throw new Error(`The model's card asks for what is not known here: ${unknown.join(", ")}.`);
  const { size, resample, upsample, antialias } = transform;
  const isSound = isKernel(resample) && isKernel(upsample) && (antialias || resample === "bilinear");
  if (!isSound || size.length !== 2 || !size.every((side) => Number.isInteger(side) && side >= 1 && side <= 8192)) {
    throw new Error("The model's card has sizes or kernels that make no sense.");
  }
  return transform;
}

/**
 * What the network takes, (3, height, width).
 *
 * @param {Pixels} picture
 * @param {Transform} transform
 */
export function fed(picture, transform) {
  const small = transform.antialias ? shrunk(picture, transform) : sampled(picture, transform);
  const peak = transform.divisor === "255" ? 255 : extremes(small)[1] || 1; // a black picture stays black
  const length = small.length / 3;
  const input = new Float32Array(small.length);
  for (let channel = 0; channel < 3; channel += 1) {
    const [mean, std] = [transform.mean[channel], transform.std[channel]];
    for (let at = 0; at < length; at += 1) input[channel * length + at] = (small[3 * at + channel] / peak - mean) / std;
  }
  return input;
}

/**
 * The saliency before it is stretched and enlarged, 0 to 1: (height, width) of the output.
 *
 * @param {Output} output
 * @param {Transform} transform
 */
export function probability({ data, classes }, { output }) {
  const length = data.length / classes;
  const first = data.slice(0, length);
  if (classes === 1) {
    return output === "logits" ? first.map((logit) => 1 / (1 + Math.exp(-logit))) : first.map((value) => unit(value));
  }
  if (output !== "logits") return first.map((background) => 1 - unit(background));
  return first.map((background, at) => {
    let others = 0; // of the background's own exponential
    for (let each = 1; each < classes; each += 1) others += Math.exp(data[each * length + at] - background);
    return Number.isFinite(others) ? others / (1 + others) : 1;
  });
}

/**
 * The saliency in 256 grey levels at a size: cut to whole levels before it is enlarged, as the authors do.
 *
 * @param {Float32Array} saliency as `probability` gives it
 * @param {Size} from
 * @param {Size} to
 * @param {Transform} transform
 * @returns {Bytes}
 */
export function maskOf(saliency, from, to, { stretch, upsample }) {
  const [low, high] = stretch ? extremes(saliency) : [0, 1];
  const range = Math.fround(high - low) || 1; // a map that is the same everywhere is left alone
  const levels = Uint8Array.from(saliency, (value) =>
    Math.fround(Math.fround(Math.fround(value - (high > low ? low : 0)) / range) * 255),
  );
  return resampled(levels, from, to, upsample);
}

/** @type {(picture: Pixels, transform: Transform) => Bytes} */
function shrunk(picture, { size, resample }) {
  const { data, width, height } = overGround(picture);
  return resampled(data, [width, height], size, resample, { stride: 4, channels: 3 });
}

/**
 * Bilinear with four taps whatever the scale, nothing beyond the border: the authors' resize.
 *
 * @type {(picture: Pixels, transform: Transform) => Float32Array}
 */
function sampled({ data, width, height }, { size }) {
  const [columns, rows] = [nearestTwo(width, size[0]), nearestTwo(height, size[1])];
  const [numColumns, numRows] = [columns.place.length, rows.place.length];
  const taken = new Uint8ClampedArray(4 * numColumns * numRows);
  for (let row = 0; row < numRows; row += 1) {
    for (let column = 0; column < numColumns; column += 1) {
      const from = 4 * (rows.place[row] * width + columns.place[column]);
      taken.set(data.subarray(from, from + 4), 4 * (row * numColumns + column));
    }
  }
  const seen = overGround({ data: taken, width: numColumns, height: numRows }).data;
  const small = new Float32Array(3 * size[0] * size[1]);
  for (let row = 0; row < numRows; row += 1) {
    for (let column = 0; column < numColumns; column += 1) {
      const weight = Math.fround(rows.weight[row] * columns.weight[column]);
      const from = 4 * (row * numColumns + column);
      const to = 3 * ((row >> 1) * size[0] + (column >> 1));
      for (let channel = 0; channel < 3; channel += 1) small[to + channel] += seen[from + channel] * weight;
    }
  }
  return small;
}

/**
 * The two neighbours of each sample of a line, one after the other; those beyond its border weigh nothing.
 *
 * @type {(length: number, samples: number) => {place: number[], weight: number[]}}
 */
function nearestTwo(length, samples) {
  /** @type {number[]} */
  const place = [];
  /** @type {number[]} */
  const weight = [];
  for (let at = 0; at < samples; at += 1) {
    const position = (at + 0.5) * (length / samples) - 0.5;
    const below = Math.floor(position);
    for (const each of [below, below + 1]) {
      place.push(Math.min(Math.max(each, 0), length - 1));
      weight.push(each < 0 || each >= length ? 0 : Math.fround(1 - Math.abs(position - each)));
    }
  }
  return { place, weight };
}

/**
 * What the network sees: what is transparent lies over a ground that what shows stands out from.
 *
 * @param {Pixels} picture
 */
function overGround(picture) {
  const { data, width, height } = picture;
  if (!hasTransparency(data)) return picture;
  const ground = contrasting(picture);
  const seen = new Uint8ClampedArray(data.length);
  for (let at = 0; at < data.length; at += 4) {
    const alpha = data[at + 3];
    for (let channel = 0; channel < 3; channel += 1) {
      seen[at + channel] = Math.round((data[at + channel] * alpha + ground * (255 - alpha)) / 255);
    }
  }
  return { data: seen, width, height };
}

/** @param {Bytes} data */
function hasTransparency(data) {
  for (let at = 3; at < data.length; at += 4) if (data[at] < 255) return true;
  return false;
}

/** White if at most a twentieth of what shows is close to it, else that of white, grey and black with the least. */
function contrasting(/** @type {Pixels} */ { data, width, height }) {
  const [columns, rows] = [Math.min(width, 256), Math.min(height, 256)];
  const grounds = [255, 128, 0];
  const close = [0, 0, 0];
  let shows = 0;
  for (let row = 0; row < rows; row += 1) {
    const line = Math.floor(((row + 0.5) * height) / rows) * width;
    for (let column = 0; column < columns; column += 1) {
      const at = 4 * (line + Math.floor(((column + 0.5) * width) / columns));
      shows += data[at + 3];
      grounds.forEach((level, index) => {
        const far = Math.max(...[0, 1, 2].map((channel) => Math.abs(data[at + channel] - level)));
        if (far < CLOSE) close[index] += data[at + 3];
      });
    }
  }
  if (close[0] <= 0.05 * Math.max(1, shows)) return 255;
  return grounds[close.indexOf(Math.min(...close))];
}

/** @param {Float32Array | Bytes} values */
function extremes(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** @param {number} value */
function unit(value) {
  return Math.min(Math.max(value, 0), 1);
}
