/** Cuts pictures out in a thread of its own, so that the page stays quick. */

import { cutOut } from "./engine/cutout.js";
import { decoded } from "./engine/decode.js";
import { Network } from "./engine/network.js";
import { encodedPng } from "./engine/png.js";
import * as runtime from "./runtime/ort.wasm.min.mjs";

let network = null;

/** The network, which is opened once; what fails is tried again with the next picture. */
function opened() {
  network ??= open().catch((error) => {
    network = null;
    throw error;
  });
  return network;
}

async function open() {
  const answer = await fetch(new URL("model.onnx", import.meta.url));
  if (!answer.ok) throw new Error("The model cannot be loaded.");
  return Network.open(runtime, new Uint8Array(await answer.arrayBuffer()));
}

onmessage = async ({ data: { id, file } }) => {
  try {
    const picture = await decoded(file);
    const { alpha } = await (await opened()).predict(picture);
    postMessage({ id, cutout: await encodedPng(cutOut(picture, alpha)) });
  } catch (error) {
    postMessage({ id, message: error.message });
  }
};
opened().catch(() => {}); // the first picture will say so
