/** The page without a service: this browser cuts the pictures out, in a thread of its own. */

import { isEmpty, say, start } from "./main.js";

const asked = new Map();
let worker = null;
let last = 0;

function cutter(file, { onSent, signal }) {
  onSent(1);
  last += 1;
  const id = last;
  return new Promise((resolve, reject) => {
    asked.set(id, { resolve, reject });
    signal.addEventListener("abort", () => {
      asked.delete(id);
      reject(new DOMException("Removed", "AbortError"));
    });
    opened().postMessage({ id, file });
  });
}

/** The thread that cuts out; it begins to load the model when it is asked for first. */
function opened() {
  if (worker) return worker;
  worker = new Worker(new URL("cutter.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data: { id, cutout, message } }) => {
    const waiting = asked.get(id);
    asked.delete(id);
    if (message) waiting?.reject(new Error(message));
    else waiting?.resolve(cutout);
  };
  worker.onerror = () => {
    for (const { reject } of asked.values()) reject(new Error("This browser cannot run what cuts pictures out."));
    asked.clear();
    worker = null; // so that another try begins anew
  };
  return worker;
}

/**
 * Keep the page for times without a network, and have it served with what threads need. Only what is loaded afterwards
 * has that: tells whether the page loads itself anew.
 */
async function keep() {
  if (!navigator.serviceWorker) return false;
  const { controller } = navigator.serviceWorker;
  if (!controller) say("Loading what the page needs, once…");
  await navigator.serviceWorker.register(new URL("offline.js", import.meta.url));
  await navigator.serviceWorker.ready;
  if (controller) return false;
  say("The page works offline now.");
  if (crossOriginIsolated || !isEmpty()) return false;
  location.reload();
  return true;
}

start(cutter);
keep().then(
  (isLeaving) => isLeaving || opened(),
  () => say("The page cannot be kept for times without a network."),
);
