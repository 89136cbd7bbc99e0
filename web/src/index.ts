/** Cuts subjects out of pictures with U²-Net, in browsers and in Node. */

import { cutOut } from "../../src/u2net/page/engine/cutout.js";
import { Network } from "../../src/u2net/page/engine/network.js";
import { encodedPng } from "../../src/u2net/page/engine/png.js";
import { bytesOf, decoded, openRuntime } from "#platform";

/** RGBA bytes, straight (not multiplied by alpha), row by row. An ImageData is one. */
export interface Pixels {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
}

/**
 * A picture: pixels; in browsers also what can be drawn (a file or other Blob, an <img>, a canvas, an ImageBitmap) and
 * the address of a file.
 */
export type Picture = Pixels | ImageBitmapSource | string | URL;

export interface Options {
  /** The address of an ONNX file, or its bytes. Without it, the model that comes with this package. */
  model?: string | URL | Uint8Array | ArrayBuffer;
  /** "auto", the default, is WebGPU where there is one, else "wasm". Node has "wasm" alone. */
  device?: "auto" | "wasm" | "webgpu";
  /** The address of the folder that holds onnxruntime-web's files, for bundlers that do not take them along. */
  runtime?: string;
}

/** What the network says of a picture. */
export interface Segmentation {
  width: number;
  height: number;
  /** The network's mask, a byte a pixel: 255 is the subject. */
  mask: Uint8Array | Uint8ClampedArray;
  /** The mask with its outline refined by the picture's colours: the alpha of a cut-out. */
  alpha: Uint8Array | Uint8ClampedArray;
  /** The probability that the picture shows a subject. Below 0.1 it most likely shows none. */
  confidence: number;
}

const opened = new Map<unknown, Promise<Network>>();

/** The cut-out of a picture, at its full size, as a PNG: transparent around the subject, in clean colours. */
export async function removeBackground(image: Picture, options: Options = {}): Promise<Blob> {
  const picture = await toPixels(image);
  const { alpha } = await (await network(options)).predict(picture);
  return encodedPng(cutOut(picture, alpha));
}

/** The mask of a picture, at its full size. */
export async function segment(image: Picture, options: Options = {}): Promise<Segmentation> {
  const picture = await toPixels(image);
  const { width, height } = picture;
  const { mask, alpha, confidence } = await (await network(options)).predict(picture);
  return { width, height, mask, alpha, confidence };
}

/** Let go of all models and their memory. */
export async function close(): Promise<void> {
  const networks = [...opened.values()];
  opened.clear();
  await Promise.allSettled(networks.map(async (each) => (await each).close()));
}

async function toPixels(image: Picture): Promise<Pixels> {
  if (!isPixels(image)) return decoded(image);
  const { data, width, height } = image;
  if (data.length !== 4 * width * height || !data.length) {
    throw new TypeError(`A picture of ${width} × ${height} has ${4 * width * height} bytes, not ${data.length}.`);
  }
  return image;
}

function isPixels(image: Picture): image is Pixels {
  const { data } = image as Partial<Pixels>;
  return data instanceof Uint8Array || data instanceof Uint8ClampedArray;
}

/** A model is opened once for each device. */
function network({ model = new URL("./u2netp_distilled.onnx", import.meta.url), device = "auto", runtime }: Options) {
  const isAddress = typeof model === "string" || model instanceof URL;
  const key = isAddress ? `${device} ${model}` : model;
  const found = opened.get(key);
  if (found) return found;
  const opening = open(model, device, runtime);
  opened.set(key, opening);
  opening.catch(() => opened.delete(key)); // so that another try begins anew
  return opening;
}

async function open(model: NonNullable<Options["model"]>, device: "auto" | "wasm" | "webgpu", folder?: string) {
  const [{ runtime, providers }, file] = await Promise.all([openRuntime(device, folder), bytesOf(model)]);
  return Network.open(runtime, file, { executionProviders: providers });
}
