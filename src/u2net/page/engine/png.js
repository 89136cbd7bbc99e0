/** PNG files. A canvas would keep colours multiplied by alpha, and lose most of those that hardly show. */

import { crc32 } from "./crc32.js";

/** @import { Pixels } from "./resample.js" */

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const UP = 2; // the filter that takes each row's difference from the row above

/**
 * A picture as a file.
 *
 * @param {Pixels} picture
 */
export async function encodedPng({ data, width, height }) {
  const stride = 4 * width;
  const rows = new Uint8Array((stride + 1) * height);
  for (let row = 0; row < height; row += 1) {
    const to = row * (stride + 1) + 1;
    const from = row * stride;
    rows[to - 1] = UP;
    for (let at = 0; at < stride; at += 1) rows[to + at] = data[from + at] - (row ? data[from - stride + at] : 0);
  }
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 6], 8); // bits of a channel; red, green, blue and alpha
  const parts = [
    SIGNATURE,
    ...chunk("IHDR", header),
    ...chunk("IDAT", new Uint8Array(await new Response(packed).arrayBuffer())),
    ...chunk("IEND", new Uint8Array()),
  ];
  return new Blob(parts, { type: "image/png" });
}

/**
 * @param {string} name
 * @param {Uint8Array<ArrayBuffer>} content
 */
function chunk(name, content) {
  const body = new Uint8Array(4 + content.length);
  body.set(new TextEncoder().encode(name));
  body.set(content, 4);
  return [number(content.length), body, number(crc32(body))];
}

/** @param {number} value */
function number(value) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}
