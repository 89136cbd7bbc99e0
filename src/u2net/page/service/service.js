/** The service behind this page: what it offers, and what it makes of a picture. */

const MOST_TRIES = 8;
const LONGEST_WAIT_S = 20;

/** The service said no; `message` has its own words. */
export class Refusal extends Error {
  constructor(status, message, waitSeconds = 0) {
    super(message);
    this.status = status;
    this.waitSeconds = waitSeconds;
  }
}

/** Version, models and limits. */
export async function askAbout() {
  const answer = await fetch("version");
  if (!answer.ok) throw new Refusal(answer.status, "The service does not answer.");
  return answer.json();
}

/**
 * The cut-out of a file, as a PNG.
 *
 * `fields` go into the form. `onSent` is told how much has been sent, 0 to 1. Where the service is busy it is asked again
 * once the time that it names has passed. Throws Refusal, or an AbortError when `signal` says so.
 */
export async function cutOut(file, fields, { key, onSent, signal }) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await send(file, fields, { key, onSent, signal });
    } catch (error) {
      if (!error.waitSeconds || tries === MOST_TRIES) throw error;
      await pause(Math.min(error.waitSeconds, LONGEST_WAIT_S) * 1000, signal);
    }
  }
}

// fetch cannot tell how much has been sent.
function send(file, fields, { key, onSent, signal }) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("file", file);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "api/remove");
    request.responseType = "blob";
    if (key) request.setRequestHeader("X-Api-Key", key);
    request.upload.onprogress = (event) => event.lengthComputable && onSent(event.loaded / event.total);
    request.onload = async () => (request.status === 200 ? resolve(request.response) : reject(await toRefusal(request)));
    request.onerror = () => reject(new Refusal(0, "The service cannot be reached."));
    request.onabort = () => reject(new DOMException("Removed", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    if (signal.aborted) reject(new DOMException("Removed", "AbortError"));
    else request.send(form);
  });
}

async function toRefusal(request) {
  const text = await request.response.text();
  let detail = `The service answered ${request.status}.`;
  try {
    detail = JSON.parse(text).detail;
  } catch {
    // A proxy in between writes what it likes.
  }
  const isBusy = request.status === 429 || request.status === 503;
  const seconds = Number(request.getResponseHeader("Retry-After")) || 1;
  return new Refusal(request.status, detail[0].toUpperCase() + detail.slice(1), isBusy ? seconds : 0);
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("Removed", "AbortError"));
    });
  });
}
