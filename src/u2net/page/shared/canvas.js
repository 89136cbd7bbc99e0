/** Pictures as pixels: decoded, scaled, put over a background, encoded. */

const WEBP_QUALITY = 0.92;

/** A canvas of a size. */
export function newCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** The ImageData of a bitmap at a size. */
export function pixelsOf(bitmap, width, height) {
  const context = newCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** The alpha of an ImageData, a byte a pixel. */
export function alphaOf({ data }) {
  const alpha = new Uint8ClampedArray(data.length / 4);
  for (let at = 0; at < alpha.length; at += 1) alpha[at] = data[4 * at + 3];
  return alpha;
}

/** The cut-out with another alpha: as it was where that is the same, and in the picture's own colours elsewhere. */
export function withAlpha(cutout, original, alpha) {
  const merged = new ImageData(cutout.data.slice(), cutout.width, cutout.height);
  for (let at = 0; at < alpha.length; at += 1) {
    if (alpha[at] === cutout.data[4 * at + 3]) continue;
    for (let channel = 0; channel < 3; channel += 1) merged.data[4 * at + channel] = original.data[4 * at + channel];
    merged.data[4 * at + 3] = alpha[at];
  }
  return merged;
}

/** Fill a canvas with `{color}` or `{bitmap}`, which covers it; or with nothing. */
export function drawBackground(context, { color, bitmap }) {
  const { width, height } = context.canvas;
  context.clearRect(0, 0, width, height);
  if (color) {
    context.fillStyle = color;
    context.fillRect(0, 0, width, height);
  }
  if (bitmap) {
    const scale = Math.max(width / bitmap.width, height / bitmap.height);
    const [w, h] = [bitmap.width * scale, bitmap.height * scale];
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  }
}

/** Draw an ImageData over what is there. */
export function drawOver(context, image) {
  const layer = newCanvas(image.width, image.height);
  layer.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(layer, 0, 0);
}

/** A canvas as a file: "image/png" or "image/webp"; some browsers give PNG for that, as `type` then says. */
export function encoded(canvas, type) {
  return new Promise((resolve, reject) => {
    const done = (blob) => (blob ? resolve(blob) : reject(new Error("This browser cannot make a picture of this size.")));
    canvas.toBlob(done, type, WEBP_QUALITY);
  });
}
