/** A model's file in onnxruntime-web, fed and read by its own card. */

import { cardOf } from "./card.js";
import { subjectConfidence } from "./confidence.js";
import { refined } from "./refine.js";
import { maskSize } from "./small.js";
import { fed, maskOf, probability } from "./transform.js";

/** @import { Card } from "./card.js" */
/** @import { Pixels, Size } from "./resample.js" */
/** @import { Output } from "./transform.js" */
/** @import { InferenceSession, Tensor } from "onnxruntime-common" */

/** @typedef {(file: Uint8Array, options?: InferenceSession.SessionOptions) => Promise<InferenceSession>} Create */

/** @typedef {object} Runtime What is used of onnxruntime-web.
 * @property {{create: Create}} InferenceSession
 * @property {new (type: "float32", data: Float32Array, dims: number[]) => Tensor} Tensor
 */

const FINE = 512; // pixels; what models of larger maps know of outlines, a refinement on 256 pixels does not

/** What the network says of a picture. */
class Prediction {
  #picture;
  #card;
  #output;
  #saliency;

  /**
   * @param {Pixels} picture
   * @param {Card} card
   * @param {Output} output
   */
  constructor(picture, card, output) {
    this.#picture = picture;
    this.#card = card;
    this.#output = output;
    this.#saliency = probability(output, card.transform);
  }

  /** The network's mask, a byte a pixel, at the picture's size. */
  get mask() {
    return this.#maskAt([this.#picture.width, this.#picture.height]);
  }

  /** The mask with its outline refined, which is what a cut-out takes. */
  get alpha() {
    if (Math.max(...this.#card.transform.size) > FINE) return this.mask;
    const size = maskSize(this.#picture.width, this.#picture.height);
    return refined(this.#picture, this.#maskAt(size), size);
  }

  /** The probability that there is a subject; below 0.1 there is likely none. */
  get confidence() {
    return subjectConfidence(this.#saliency, this.#card.sharpness);
  }

  /** @param {Size} size */
  #maskAt(size) {
    return maskOf(this.#saliency, [this.#output.width, this.#output.height], size, this.#card.transform);
  }
}

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
   */
  async predict(picture) {
    const run = () => this.#run(fed(picture, this.card.transform));
    const turn = this.last.then(run, run);
    this.last = turn;
    return new Prediction(picture, this.card, await turn);
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
