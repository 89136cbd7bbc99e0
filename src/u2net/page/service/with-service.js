/** The page of a service, which cuts the pictures out. */

import { askKey } from "./key.js";
import { cutAgain, say, start } from "./main.js";
import { askAbout, cutOut } from "./service.js";

const find = (selector) => document.querySelector(selector);
let key = "";
let limits = null;

async function cutter(file, { onSent, signal }) {
  if (limits && file.size > limits.bytes) {
    throw new Error(`The file is larger than ${megabytes()} MB, the most that this service takes.`);
  }
  const fields = Object.fromEntries([...new FormData(find("#how"))].filter(([, value]) => value));
  for (;;) {
    const used = key;
    try {
      return await cutOut(file, fields, { key: used, onSent, signal });
    } catch (error) {
      if (error.status !== 401) throw error;
      if (used === key) key = await askKey(key, error.message);
    }
  }
}

function megabytes() {
  return Math.floor(limits.bytes / 2 ** 20);
}

start(cutter);
find("#how").addEventListener("change", cutAgain);
askAbout().then(
  (about) => {
    limits = about.limits;
    find("#version").textContent = `u2net ${about.version}`;
    find("#limit").textContent = `, up to ${megabytes()} MB each`;
    find("#models").hidden = about.models.length < 2;
    const select = find("#models select");
    const showPurpose = () => (find("#purpose").textContent = about.purposes[select.value] ?? "");
    select.append(...about.models.map((name) => new Option(name, name)));
    select.addEventListener("change", showPurpose);
    showPurpose();
  },
  (error) => say(error.message),
);
