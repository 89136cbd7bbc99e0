/** What an ONNX file says of itself: its metadata, and the card in it. */

import { newTransform } from "./transform.js";

/** @import { Transform } from "./transform.js" */

/** @typedef {object} Card
 * @property {string} name
 * @property {Transform} transform
 * @property {number} sharpness what the logits of the map were multiplied by after training
 * @property {number} numClasses of which the network puts out one map each, or with two only the subject's
 * @property {string} licence
 */

const KEY = "u2net.card";
const METADATA = 14; // the number of metadata_props in ONNX's ModelProto, and those of a property's two texts
const [NAME, VALUE] = [1, 2];

/**
 * The card in a file; one without a card is fed as the authors feed theirs. Throws for what is no ONNX file.
 *
 * @param {Uint8Array} file
 * @returns {Card}
 */
export function cardOf(file) {
  const text = metadataOf(file).get(KEY);
  const { name = "", transform = {}, sharpness = 1, classes = ["background", "subject"], licence = "unknown" } =
    text === undefined ? {} : JSON.parse(text);
  return { name, transform: newTransform(transform), sharpness, numClasses: classes.length, licence };
}

/**
 * The metadata of an ONNX file. It is a protocol-buffers message; weights are stepped over.
 *
 * @param {Uint8Array} file
 * @returns {Map<string, string>}
 */
export function metadataOf(file) {
  const metadata = new Map();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for (const [field, content] of fields(file)) {
      if (field !== METADATA) continue;
      const texts = new Map(fields(content));
      const [name, value] = [NAME, VALUE].map((each) => decoder.decode(texts.get(each)));
      metadata.set(name, value);
    }
  } catch {
    throw new Error("This is no ONNX file, or a damaged one.");
  }
  return metadata;
}

/**
 * Number and bytes of each field that has a length; all others are stepped over.
 *
 * @param {Uint8Array} message
 * @returns {Generator<[number, Uint8Array]>}
 */
function* fields(message) {
  let at = 0;

  function varint() {
    let number = 0;
    for (let scale = 1; ; scale *= 128) {
      if (at >= message.length || scale > 2 ** 63) throw new Error("damaged");
      const byte = message[at];
      at += 1;
      number += (byte & 127) * scale; // exact up to 2 ** 53, more than any file has bytes
      if (byte < 128) return number;
    }
  }

  while (at < message.length) {
    const tag = varint();
    const [field, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === 0) varint();
    else if (kind === 1 || kind === 5) at += kind === 1 ? 8 : 4;
    else if (kind === 2) {
      const length = varint();
      if (length > message.length - at) throw new Error("damaged");
      yield [field, message.subarray(at, at + length)];
      at += length;
    } else throw new Error("damaged");
  }
  if (at > message.length) throw new Error("damaged");
}
