/** What the types promise; it is only compiled. */

import { close, removeBackground, segment, type Options, type Picture, type Segmentation } from "u2net-web";

const options: Options = { model: new URL("https://example.org/u2net.onnx"), device: "webgpu" };
const pixels = { data: new Uint8Array(4), width: 1, height: 1 };
const pictures: Picture[] = [new ImageData(1, 1), new Blob(), "photo.jpg", pixels];
for (const picture of pictures) {
  const cutout: Blob = await removeBackground(picture, options);
  const { mask, confidence }: Segmentation = await segment(cutout);
  const sums: number = mask[0] + confidence;
  console.log(sums);
}
await close();

// @ts-expect-error there is no such device
await removeBackground("photo.jpg", { device: "cpu" });
