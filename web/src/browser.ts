/** What browsers have: decoders, WebAssembly and, some of them, WebGPU. */

import { decoded as drawn } from "../../src/u2net/page/engine/decode.js";

export async function openRuntime(device: "auto" | "wasm" | "webgpu", folder?: string) {
  const isOnGpu = device === "webgpu" || (device === "auto" && (await hasGpu()));
  const runtime = isOnGpu ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web/wasm");
  if (folder !== undefined) runtime.env.wasm.wasmPaths = folder;
  return { runtime, providers: isOnGpu ? ["webgpu", "wasm"] : ["wasm"] };
}

async function hasGpu(): Promise<boolean> {
  const { gpu } = navigator as Navigator & { gpu?: { requestAdapter(): Promise<unknown> } };
  return Boolean(await gpu?.requestAdapter().catch(() => null));
}

export async function bytesOf(model: string | URL | Uint8Array | ArrayBuffer): Promise<Uint8Array> {
  if (typeof model !== "string" && !(model instanceof URL)) return new Uint8Array(model as ArrayBuffer);
  return new Uint8Array(await (await fetched(model)).arrayBuffer());
}

export async function decoded(source: ImageBitmapSource | string | URL): Promise<ImageData> {
  const isAddress = typeof source === "string" || source instanceof URL;
  return drawn(isAddress ? await (await fetched(source)).blob() : source);
}

async function fetched(address: string | URL): Promise<Response> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} cannot be loaded: ${answer.status}.`);
  return answer;
}
