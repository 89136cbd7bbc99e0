/** The list of pictures, each with what has become of it. */

import { drawBackground } from "./canvas.js";

const STATES = { waiting: "Waiting", sending: "Sending", cutting: "Cutting out", done: "Done", failed: "Failed" };

/** The list's entry of a picture. */
export function newEntry(picture, { onChoose, onRemove }) {
  const entry = document.querySelector("#entry").content.firstElementChild.cloneNode(true);
  entry.querySelector(".name").textContent = picture.name;
  entry.querySelector(".choose").addEventListener("click", onChoose);
  const remove = entry.querySelector(".remove");
  remove.setAttribute("aria-label", `Remove ${picture.name}`);
  remove.addEventListener("click", onRemove);
  entry.querySelector("progress").setAttribute("aria-label", `Progress of ${picture.name}`);
  return entry;
}

/** Make an entry say how its picture is. */
export function drawEntry({ entry, state, sent, message, thumbnail }, isChosen, background) {
  entry.dataset.state = state;
  entry.title = message;
  entry.querySelector(".state").textContent = STATES[state];
  entry.querySelector(".choose").setAttribute("aria-current", isChosen);
  const progress = entry.querySelector("progress");
  progress.hidden = state === "done" || state === "failed";
  if (state === "cutting") progress.removeAttribute("value"); // nobody knows how long it takes
  else progress.value = sent;
  if (!thumbnail) return;
  const canvas = entry.querySelector("canvas");
  [canvas.width, canvas.height] = [thumbnail.width, thumbnail.height];
  const context = canvas.getContext("2d");
  drawBackground(context, state === "done" ? background : {});
  context.drawImage(thumbnail, 0, 0);
}
