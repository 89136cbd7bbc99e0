/** A model's file in onnxruntime-web, fed and read by its own card. */

import { cardOf } from "./card.js";
import { subjectConfidence } from "./confidence.js";
import { refined } from "./refine.js";
import { fed, maskOf, probability } from "./transform.js";

/** @import { Card } from "./card.js" */
/** @import { Bytes, Pixels } from "./resample.js" */
/** @import { InferenceSession, Tensor } from "onnxruntime-common" */

/** @typedef {(file: Uint8Array, options?: InferenceSession.SessionOptions) => Promise<InferenceSession>} Create */

/** @typedef {object} Runtime What is used of onnxruntime-web.
 * @property {{create: Create}} InferenceSession
 * @property {new (type: "float32", data: Float32Array, dims: number[]) => Tensor} Tensor
 */

/** @typedef {object} Segmentation
 * @property {Bytes} mask the network's, a byte a pixel, at the picture's size
 * @property {Bytes} alpha the mask with its outline refined, which is what a cut-out takes
 * @property {number} confidence the probability that there is a subject; below 0.1 there is likely none
 */

const FINE = 512; // pixels; what models of larger maps know of outlines, a refinement on 256 pixels does not

export class Network {
  /**
   * @param {Runtime} runtime
   * @param {Uint8Array} file
   * @param {InferenceSession.SessionOptions} [options]
   */
  static async open(runtime, file, options) {
    const card = cardOf(file);
    return new Network(runtime, card, await runtime.InferenceSession.create(file, options));
  }

  /**
   * @param {Runtime} runtime
   * @param {Card} card
   * @param {InferenceSession} session
   */
  constructor(runtime, card, session) {
    this.runtime = runtime;
    this.card = card;
    this.session = session;
    /** @type {Promise<unknown>} */
    this.last = Promise.resolve(); // a runtime looks at one picture at a time
  }

  /**
   * What the network says of a picture.
   *
   * @param {Pixels} picture
   * @returns {Promise<Segmentation>}
   */
  async segment(picture) {
    const { transform, sharpness } = this.card;
    const run = () => this.#run(fed(picture, transform));
    const turn = this.last.then(run, run);
    this.last = turn;
    const output = await turn;
    const saliency = probability(output, transform);
    const mask = maskOf(saliency, [output.width, output.height], [picture.width, picture.height], transform);
    const alpha = Math.max(...transform.size) > FINE ? mask : refined(picture, mask);
    return { mask, alpha, confidence: subjectConfidence(saliency, sharpness) };
  }

  /** Let go of the runtime's memory. */
  close() {
    return this.session.release();
  }

  /** @param {Float32Array} input */
  async #run(input) {
    const { transform, name, numClasses } = this.card;
    const [width, height] = transform.size;
    const tensor = new this.runtime.Tensor("float32", input, [1, 3, height, width]);
    const [output] = this.session.outputNames; // others are side maps
    const { dims, data } = (await this.session.run({ [this.session.inputNames[0]]: tensor }, [output]))[output];
    const isMap = dims.length === 4 && (dims[1] === 1 || dims[1] === numClasses);
    if (!isMap || !(data instanceof Float32Array) || !data.every(Number.isFinite)) {
      throw new Error(`${name || "The model"} does not put out maps of a subject.`);
    }
    return { data, classes: dims[1], height: dims[2], width: dims[3] };
  }
}
