import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";
import { inflateSync } from "node:zlib";
import { close, removeBackground, segment } from "../dist/index.js";

after(close);

/** A red disc on blue. */
function disc(width = 96, height = 64) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let at = 0; at < width * height; at += 1) {
    const [x, y] = [(at % width) - width / 2, Math.floor(at / width) - height / 2];
    data.set(Math.hypot(x, y) < height / 3 ? [214, 40, 30, 255] : [40, 60, 160, 255], 4 * at);
  }
  return { data, width, height };
}

test("the subject is in the mask, and the surroundings are not", async () => {
  const { width, height, mask, alpha, confidence } = await segment(disc());
  for (const levels of [mask, alpha]) {
    assert.equal(levels.length, width * height);
    assert.ok(levels[(height / 2) * width + width / 2] > 230);
    assert.ok(levels[0] < 25);
  }
  assert.ok(confidence > 0.5);
});

test("a cut-out is a PNG of the picture's size, in its colours", async () => {
  const picture = disc();
  const blob = await removeBackground(picture);
  assert.equal(blob.type, "image/png");
  const file = Buffer.from(await blob.arrayBuffer());
  assert.deepEqual([file.readUInt32BE(16), file.readUInt32BE(20)], [picture.width, picture.height]);
  const start = file.indexOf("IDAT");
  const rows = inflateSync(file.subarray(start + 4, start + 4 + file.readUInt32BE(start - 4)));
  assert.equal(rows.length, picture.height * (4 * picture.width + 1));
});

test("a model may be given as bytes, and is opened once", async () => {
  const model = await readFile(new URL("../dist/u2netp_distilled.onnx", import.meta.url));
  const [one, other] = await Promise.all([segment(disc(), { model }), segment(disc(), { model })]);
  assert.deepEqual(one.mask, other.mask);
  assert.deepEqual(one.mask, (await segment(disc())).mask);
});

test("what is no picture and what is no model is refused", async () => {
  await assert.rejects(removeBackground({ data: new Uint8Array(3), width: 1, height: 1 }), /has 4 bytes, not 3/);
  await assert.rejects(removeBackground("photo.jpg"), /no decoder/);
  await assert.rejects(segment(disc(), { model: new Uint8Array([1, 2, 3]) }), /no ONNX file/);
  await assert.rejects(segment(disc(), { device: "webgpu" }), /no WebGPU/);
});
