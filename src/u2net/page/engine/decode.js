/** Pictures as pixels, by what a browser has. */

/**
 * The pixels of a file or of anything else that can be drawn, upright, in sRGB.
 *
 * @param {ImageBitmapSource} source
 * @returns {Promise<ImageData>}
 */
export async function decoded(source) {
  const bitmap = await createImageBitmap(source);
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("This browser cannot open a picture of this size.");
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
  bitmap.close();
  return pixels;
}
