/** What Node has: files and WebAssembly. Pictures are decoded by another package, as the README shows. */

import { readFile } from "node:fs/promises";
import * as runtime from "onnxruntime-web";

export async function openRuntime(device: "auto" | "wasm" | "webgpu", folder?: string) {
  if (device === "webgpu") throw new Error("Node has no WebGPU.");
  if (folder !== undefined) runtime.env.wasm.wasmPaths = folder;
  return { runtime, providers: ["wasm"] };
}

export async function bytesOf(model: string | URL | Uint8Array | ArrayBuffer): Promise<Uint8Array> {
  if (typeof model !== "string" && !(model instanceof URL)) return new Uint8Array(model as ArrayBuffer);
  const address = String(model);
  if (!/^https?:/.test(address)) return readFile(address.startsWith("file:") ? new URL(address) : address);
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} cannot be loaded: ${answer.status}.`);
  return new Uint8Array(await answer.arrayBuffer());
}

export async function decoded(_source: unknown): Promise<never> {
  throw new TypeError("Node has no decoder of pictures: give {data, width, height}, RGBA bytes, for example by sharp.");
}
