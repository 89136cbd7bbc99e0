/** The matte where a brush was, and the matte that was retouched on a small picture at the full one's size. */

import { fitted, unfogged } from "./guided.js";
import { between, neighbours } from "./small.js";

/** @import { Bytes } from "./resample.js" */

const CORE = 0.5; // of the brush's radius: nearer to its path, what it says is certain
const HINT = 0.02; // weight of a soft brush where colours must tell; it decides where they do not
const UNSURE = 0.3; // weight of what was neither subject nor background before
const SPREAD = 1e-3; // variance of colour that counts for none, between the brush and what is around it
const FINE = 1e-4; // and within an outline
const FINE_RADIUS = 2;

/**
 * The alpha after a stroke: what is near its path is kept or erased, and out to its radius the colours tell.
 *
 * There the functions of colour are taken that explain both the core of the stroke and the alpha around it. Nothing
 * changes beyond the radius, keeping never lowers an alpha, and erasing never raises one. `colors` are RGBA bytes,
 * `alpha` bytes, `points` are [[x, y], …].
 *
 * @param {{colors: Bytes, alpha: Bytes, width: number, height: number, points: number[][], radius: number,
 *   isKeeping: boolean}} stroke
 */
export function afterStroke({ colors, alpha, width, height, points, radius, isKeeping }) {
  const distances = distancesTo(points, radius, width, height);
  const wanted = isKeeping ? 1 : 0;
  const target = new Float32Array(alpha.length);
  const weights = new Float32Array(alpha.length);
  for (let at = 0; at < alpha.length; at += 1) {
    const old = alpha[at] / 255;
    const outwards = Math.min(1, Math.max(0, (distances[at] / radius - CORE) / (1 - CORE)));
    target[at] = wanted + (old - wanted) * outwards;
    weights[at] = outwards > 0 && outwards < 1 ? HINT : outwards === 1 && old > 0.02 && old < 0.98 ? UNSURE : 1;
  }
  const reach = Math.ceil(0.6 * radius) + 1; // from the middle of the band to both of its sides
  const [red, green, blue, constant] = fitted({ colors, target, weights, width, height, radius: reach, epsilon: SPREAD });
  return alpha.map((old, at) => {
    if (distances[at] >= radius) return old;
    const [r, g, b] = colors.subarray(4 * at, 4 * at + 3);
    const told = unfogged((red[at] * r + green[at] * g + blue[at] * b) / 255 + constant[at]);
    const found = distances[at] <= CORE * radius ? 255 * wanted : Math.round(255 * told);
    return isKeeping ? Math.max(old, found) : Math.min(old, found);
  });
}

/**
 * The alpha of a full picture where that of its small copy was retouched, and as it was elsewhere.
 *
 * `small` is {colors, width, height, alpha, given}, with the alpha now and at first; `full` is {colors, width, height,
 * given}.
 *
 * @param {{colors: Bytes, width: number, height: number, alpha: Bytes, given: Bytes}} small
 * @param {{colors: Bytes, width: number, height: number, given: Bytes}} full
 */
export function enlarged(small, full) {
  const { width, height } = small;
  const isChanged = small.alpha.map((value, at) => (value === small.given[at] ? 0 : 1));
  const target = Float32Array.from(small.alpha, (value) => value / 255);
  const weights = new Float32Array(target.length).fill(1);
  const factors = fitted({ ...small, target, weights, radius: FINE_RADIUS, epsilon: FINE });
  const alpha = full.given.slice();
  const [columns, rows] = [neighbours(full.width, width), neighbours(full.height, height)];
  for (let row = 0; row < full.height; row += 1) {
    for (let column = 0; column < full.width; column += 1) {
      const share = between(isChanged, width, columns, rows, column, row);
      if (share === 0) continue;
      const at = row * full.width + column;
      const [red, green, blue, constant] = factors.map((factor) => between(factor, width, columns, rows, column, row));
      const [r, g, b] = full.colors.subarray(4 * at, 4 * at + 3);
      const told = 255 * unfogged((red * r + green * g + blue * b) / 255 + constant);
      alpha[at] = Math.round(full.given[at] + share * (told - full.given[at]));
    }
  }
  return alpha;
}

/**
 * Of each pixel from the path through `points`, at most `radius`.
 *
 * @type {(points: number[][], radius: number, width: number, height: number) => Float32Array}
 */
function distancesTo(points, radius, width, height) {
  const distances = new Float32Array(width * height).fill(radius);
  points.forEach(([x2, y2], index) => {
    const [x1, y1] = points[Math.max(0, index - 1)];
    const [dx, dy] = [x2 - x1, y2 - y1];
    const squared = dx * dx + dy * dy;
    const [left, right] = [Math.min(x1, x2) - radius, Math.max(x1, x2) + radius];
    const [top, bottom] = [Math.min(y1, y2) - radius, Math.max(y1, y2) + radius];
    for (let y = Math.max(0, Math.floor(top)); y < Math.min(height, bottom); y += 1) {
      for (let x = Math.max(0, Math.floor(left)); x < Math.min(width, right); x += 1) {
        const along = squared ? Math.min(1, Math.max(0, ((x - x1) * dx + (y - y1) * dy) / squared)) : 0;
        const distance = Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
        if (distance < distances[y * width + x]) distances[y * width + x] = distance;
      }
    }
  });
  return distances;
}
