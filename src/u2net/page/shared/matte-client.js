/** Asks the thread that does the matte's arithmetic. */

const worker = new Worker(new URL("matte-worker.js", import.meta.url), { type: "module" });
const asked = new Map();
let last = 0;

worker.onmessage = ({ data: { id, alpha } }) => {
  asked.get(id)(alpha);
  asked.delete(id);
};

/** The alpha after `{stroke}`, or of `{small, full}`, as engine/matte.js describes them. */
export function solve(question) {
  last += 1;
  return new Promise((resolve) => {
    asked.set(last, resolve);
    worker.postMessage({ id: last, ...question });
  });
}
