/** How sure the network is that a picture shows a subject at all, as in inference/session.py. */

const SHARE = 100; // one pixel in so many is looked at, the surest
const CLIP = 1e-3;
const [SLOPE, OFFSET] = [1.6, -8.6]; // of logit against logit

/**
 * The probability that there is a subject, 0 to 0.92. Below 0.1 a picture counts as one without.
 *
 * @param {Float32Array} probabilities as the network gave them, not stretched
 * @param {number} sharpness
 */
export function subjectConfidence(probabilities, sharpness) {
  const surest = probabilities.slice().sort().slice(-Math.max(Math.floor(probabilities.length / SHARE), 1));
  let sum = 0;
  for (const value of surest) {
    const [subject, rest] = [value ** (1 / sharpness), (1 - value) ** (1 / sharpness)];
    sum += subject / (subject + rest);
  }
  const mean = Math.min(Math.max(sum / surest.length, CLIP), 1 - CLIP);
  return 1 / (1 + Math.exp(-(SLOPE * Math.log(mean / (1 - mean)) + OFFSET)));
}
