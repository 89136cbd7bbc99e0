/** Alpha as a linear function of colour in each window of a picture: He's guided filter, with a weight for each pixel. */

/**
 * Of the functions a·rgb + b that are nearest to `target` in the windows around each pixel, the mean.
 *
 * `colors` are RGBA bytes, `target` and `weights` floats, one a pixel. Gives four arrays, the factors of red, green and
 * blue (0 to 1) and b. `epsilon` is the variance of colour that counts for none. He, Sun, Tang: Guided Image Filtering,
 * 2013, equations 14 to 16, weighted.
 */
export function fitted({ colors, target, weights, width, height, radius, epsilon }) {
  const length = width * height;
  const values = new Float32Array(length);
  const sum = (value) => {
    for (let at = 0; at < length; at += 1) values[at] = value(at);
    return boxSum(values, width, height, radius);
  };
  const color = (at, channel) => colors[4 * at + channel] / 255;
  const total = sum((at) => weights[at]);
  const red = sum((at) => weights[at] * color(at, 0));
  const green = sum((at) => weights[at] * color(at, 1));
  const blue = sum((at) => weights[at] * color(at, 2));
  const products = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]].map(([one, other]) =>
    sum((at) => weights[at] * color(at, one) * color(at, other)),
  );
  const alpha = sum((at) => weights[at] * target[at]);
  const joint = [0, 1, 2].map((channel) => sum((at) => weights[at] * target[at] * color(at, channel)));

  const factors = [0, 1, 2, 3].map(() => new Float32Array(length));
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
  return factors.map((factor) => boxSum(factor, width, height, radius).map((value, at) => value / count[at]));
}

/** 0 to 1, and exactly the one or the other where a function is this near to it. */
export function unfogged(value) {
  return value < 0.04 ? 0 : value > 0.96 ? 1 : value;
}

/** The solution of a symmetric system of three, by Cramer's rule. */
function solved(xx, xy, xz, yy, yz, zz, [x, y, z]) {
  const [a, b, c] = [yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy];
  const [d, e, f] = [xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy];
  const scale = 1 / (xx * a + xy * b + xz * c);
  return [(a * x + b * y + c * z) * scale, (b * x + d * y + e * z) * scale, (c * x + e * y + f * z) * scale];
}

/** Sums over the squares of `2 * radius + 1` around each pixel, as far as they lie in the picture. */
function boxSum(values, width, height, radius) {
  const rows = new Float64Array(values.length);
  for (let row = 0; row < height; row += 1) slide(values, rows, row * width, 1, width, radius);
  const sums = new Float64Array(values.length);
  for (let column = 0; column < width; column += 1) slide(rows, sums, column, width, height, radius);
  return sums;
}

function slide(from, to, start, step, length, radius) {
  let sum = 0;
  for (let at = 0; at < Math.min(radius, length); at += 1) sum += from[start + at * step];
  for (let at = 0; at < length; at += 1) {
    if (at + radius < length) sum += from[start + (at + radius) * step];
    if (at > radius) sum -= from[start + (at - radius - 1) * step];
    to[start + at * step] = sum;
  }
}
