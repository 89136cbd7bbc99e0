/** The file of a picture as it is downloaded, at the picture's own size. */

import { alphaOf, drawBackground, drawOver, encoded, newCanvas, pixelsOf, withAlpha } from "./canvas.js";
import { Retouching } from "./retouching.js";
import { solve } from "./matte-client.js";

const ENDINGS = { "image/png": "png", "image/webp": "webp", "image/jpeg": "jpg" };

/** The picture over a background. The service's own file where there is nothing to add to it. */
export async function resultOf(picture, background, type) {
  const isPlain = !background.color && !background.bitmap;
  if (isPlain && !picture.retouched && type === picture.cutout.type) return picture.cutout;
  const image = await cutoutOf(picture);
  const canvas = newCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  drawBackground(context, background);
  drawOver(context, image);
  return encoded(canvas, type);
}

/** A name for each blob, after its picture's, none twice. */
export function namesFor(pictures, blobs) {
  const taken = new Set();
  return pictures.map(({ name }, index) => {
    const stem = name.replace(/\.[^.]*$/, "").replaceAll(/[\\/:*?"<>|\p{Cc}]/gu, "_") || "picture";
    for (let number = 1; ; number += 1) {
      const chosen = `${stem}.out${number > 1 ? `-${number}` : ""}.${ENDINGS[blobs[index].type]}`;
      if (!taken.has(chosen.toLowerCase())) {
        taken.add(chosen.toLowerCase());
        return chosen;
      }
    }
  });
}

/** Have the browser save a blob. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers begin to read late
}

async function cutoutOf({ file, cutout, retouched }) {
  const cut = await createImageBitmap(cutout);
  const image = pixelsOf(cut, cut.width, cut.height);
  cut.close();
  if (!retouched) return image;
  const bitmap = await createImageBitmap(file);
  const original = pixelsOf(bitmap, image.width, image.height);
  bitmap.close();
  const small = await Retouching.open({ file, cutout, retouched });
  if (small.width === image.width) return withAlpha(image, original, small.alpha);
  const alpha = await solve({
    small: {
      colors: small.original.data,
      width: small.width,
      height: small.height,
      alpha: small.alpha,
      given: small.given,
    },
    full: { colors: original.data, width: image.width, height: image.height, given: alphaOf(image) },
  });
  return withAlpha(image, original, alpha);
}
