/** The page: pictures come in, are cut out, looked at, retouched, and go. Who cuts them out is for `start` to say. */

import { chosenBackground } from "./background.js";
import { newCanvas } from "./canvas.js";
import { namesFor, resultOf, save } from "./result.js";
import { Retouching } from "./retouching.js";
import { Stage } from "./stage.js";
import { drawEntry, newEntry } from "./strip.js";
import { takingTurns } from "./queue.js";
import { zip } from "./zip.js";

const AT_ONCE = 2;
const THUMBNAIL = 192;

const find = (selector) => document.querySelector(selector);
const inTurn = takingTurns(AT_ONCE);
const pictures = [];
const stage = new Stage(find("#stage"), retouch);
let chosen = null; // the picture on the stage
let open = null; // its pixels, once there are any
let background = {};
let cutOut = null; // as `start` is given it
let last = Promise.resolve(); // strokes are solved one after the other

// ---- Pictures come in ----------------------------------------------------------------------------------------

function add(files) {
  const found = [...files].filter((file) => file.type.startsWith("image/"));
  if (found.length < files.length) say(`${files.length - found.length} of these are no pictures.`);
  for (const file of found) {
    const picture = { file, name: file.name || "picture.png", leaving: new AbortController() };
    picture.entry = newEntry(picture, { onChoose: () => choose(picture), onRemove: () => remove(picture) });
    pictures.push(picture);
    find("#strip").append(picture.entry);
    begin(picture);
  }
  if (!pictures.length) return;
  find("#welcome").hidden = true;
  find("#workspace").hidden = find("#add").hidden = false;
  if (!chosen) choose(pictures[0]);
}

function begin(picture) {
  Object.assign(picture, { state: "waiting", sent: 0, message: "", cutout: null, retouched: null });
  const { signal } = picture.leaving;
  change(picture, { state: "waiting" });
  inTurn(() => cut(picture, signal)).then(tell, (error) => {
    if (error.name === "AbortError") return;
    change(picture, { state: "failed", message: error.message });
    tell();
  });
}

/** Cut anew what was not retouched; the rest stays as somebody made it. */
export function cutAgain() {
  const stay = pictures.filter(({ retouched }) => retouched);
  for (const picture of pictures.filter((each) => !stay.includes(each))) {
    picture.leaving.abort();
    picture.leaving = new AbortController();
    begin(picture);
  }
  if (stay.length) say("What was retouched stays as it is.");
}

async function cut(picture, signal) {
  const { file } = picture;
  if (signal.aborted) return;
  const shown = await createImageBitmap(file).catch(() => {
    throw new Error("This browser cannot read the picture.");
  });
  picture.thumbnail = thumbnailOf(shown);
  shown.close();
  change(picture, { state: "sending" });
  const onSent = (sent) => change(picture, { sent, state: sent < 1 ? "sending" : "cutting" });
  picture.cutout = await cutOut(file, { onSent, signal });
  const made = await createImageBitmap(picture.cutout);
  picture.thumbnail = thumbnailOf(made);
  made.close();
  change(picture, { state: "done" });
}

function thumbnailOf(bitmap) {
  const scale = Math.min(1, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
  const canvas = newCanvas(Math.ceil(bitmap.width * scale), Math.ceil(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function change(picture, changes) {
  Object.assign(picture, changes);
  drawEntry(picture, picture === chosen, background);
  if (picture === chosen && "state" in changes) choose(picture);
  drawTools();
}

function tell() {
  const num = (state) => pictures.filter((picture) => picture.state === state).length;
  const failed = num("failed") ? `, ${num("failed")} failed` : "";
  if (pictures.length) say(`${num("done")} of ${pictures.length} done${failed}.`);
}

function remove(picture) {
  picture.leaving.abort();
  const at = pictures.indexOf(picture);
  pictures.splice(at, 1);
  picture.entry.remove();
  say(`${picture.name} removed.`);
  if (!pictures.length) {
    [chosen, open] = [null, null];
    find("#welcome").hidden = false;
    find("#workspace").hidden = find("#add").hidden = true;
    find("#files").focus();
    return;
  }
  const next = pictures[Math.min(at, pictures.length - 1)];
  if (picture === chosen) choose(next);
  next.entry.querySelector(".choose").focus();
  drawTools();
}

/** Whether there is no picture yet. */
export function isEmpty() {
  return !pictures.length;
}

// ---- One is looked at, and retouched -------------------------------------------------------------------------

async function choose(picture) {
  const isNew = picture !== chosen;
  [chosen, open] = [picture, null];
  if (isNew) for (const each of pictures) drawEntry(each, each === chosen, background);
  drawStage();
  if (picture.state !== "done") return;
  await last; // what is being solved belongs to the picture
  const opened = await Retouching.open(picture);
  if (picture !== chosen) return;
  open = opened;
  drawStage();
}

function drawStage() {
  const { state, message, name } = chosen;
  find("#stage").dataset.state = open ? "done" : state;
  find("#stage .message").textContent = state === "failed" ? `${name}: ${message}` : "";
  if (open) stage.show(open, chosen.name, background);
  drawTools();
}

function drawTools() {
  const isDone = Boolean(open);
  for (const tool of document.querySelectorAll("#tools input")) tool.disabled = !isDone;
  find("#undo").disabled = !open?.before.length;
  find("#size").parentElement.hidden = stage.mode === "compare";
  find("#download").disabled = chosen?.state !== "done";
  const num = pictures.filter(({ state }) => state === "done").length;
  find("#download-all").disabled = num === 0;
  find("#download-all").textContent = num > 1 ? `Download all ${num} as ZIP` : "Download all as ZIP";
}

function retouch(points) {
  const [picture, opened, isKeeping, radius] = [chosen, open, stage.mode === "keep", stage.radius];
  last = last.then(async () => {
    await opened.stroke(points, radius, isKeeping);
    afterRetouching(picture, opened);
    say(isKeeping ? "Kept." : "Erased.");
  });
}

function undo() {
  if (!open?.before.length) return;
  open.undo();
  afterRetouching(chosen, open);
  say("The last stroke is taken back.");
}

function afterRetouching(picture, opened) {
  picture.retouched = opened.retouched;
  if (opened === open) drawStage();
  const canvas = newCanvas(opened.width, opened.height);
  canvas.getContext("2d").putImageData(opened.image, 0, 0);
  picture.thumbnail = thumbnailOf(canvas);
  drawEntry(picture, picture === chosen, background);
}

function showBackground(next, what) {
  background = next;
  for (const picture of pictures) drawEntry(picture, picture === chosen, background);
  if (open) drawStage();
  say(`Background: ${what}.`);
}

// ---- They go -------------------------------------------------------------------------------------------------

async function download(some, button) {
  button.disabled = true;
  try {
    await last;
    const type = find("input[name=type]:checked").value;
    const blobs = [];
    for (const picture of some) {
      if (some.length > 1) say(`Making ${blobs.length + 1} of ${some.length}…`);
      blobs.push(await resultOf(picture, background, type));
    }
    const names = namesFor(some, blobs);
    if (button.id === "download") save(blobs[0], names[0]);
    else save(await zip(blobs.map((blob, at) => ({ blob, name: names[at] }))), "cut-outs.zip");
    say(some.length > 1 ? `${some.length} pictures downloaded.` : `${names[0]} downloaded.`);
  } catch (error) {
    say(error.message);
  }
  drawTools();
}

/** Say it to those who see, for a while, and to screen readers. */
export function say(text) {
  const status = find("#status");
  status.textContent = text;
  status.classList.add("new");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => status.classList.remove("new"), 4000);
}

// ---- Wires ---------------------------------------------------------------------------------------------------

/**
 * Let pictures come in. `cutter` gives the cut-out of a file, as a PNG: `cutter(file, {onSent, signal})`. It tells
 * `onSent` how much of the file was sent, 0 to 1, and throws an Error for people to read, or an AbortError when `signal`
 * says so.
 */
export function start(cutter) {
  cutOut = cutter;
  find("#files").addEventListener("change", ({ target }) => {
    add([...target.files]);
    target.value = ""; // so that the same file may be taken again
  });
  find("#add").addEventListener("click", () => find("#files").click());
  find("#again").addEventListener("click", () => begin(chosen));
  find("#undo").addEventListener("click", undo);
  find("#download").addEventListener("click", ({ target }) => download([chosen], target));
  find("#download-all").addEventListener("click", ({ target }) =>
    download(pictures.filter(({ state }) => state === "done"), target),
  );
  find("#size").addEventListener("input", ({ target }) => (stage.radius = Number(target.value) / 2));
  find("#tools").addEventListener("change", ({ target }) => {
    if (target.name !== "mode") return;
    stage.mode = target.value;
    drawStage();
  });
  chosenBackground(find("#background"), showBackground);

  document.addEventListener("paste", ({ clipboardData }) => clipboardData.files.length && add([...clipboardData.files]));
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && event.target.type !== "text") undo();
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    add([...event.dataTransfer.files]);
  });
}
