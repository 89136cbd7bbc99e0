/**
 * The service worker: keeps the page's files, so that it works offline, and serves them with headers that a simple host
 * does not send. These let the runtime have threads, and bind its threads to the page's rules.
 */

importScripts("files.js"); // FILES, the digest of each by its name, and POLICY

const PREFIX = `u2net ${registration.scope} `;
const CACHE = PREFIX + FILES["files.js"];
const HEADERS = {
  "Content-Security-Policy": POLICY,
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Opener-Policy": "same-origin",
};

addEventListener("install", (event) => event.waitUntil(keep()));
addEventListener("activate", (event) => event.waitUntil(forget()));
addEventListener("fetch", (event) => {
  const name = nameOf(event.request.url);
  if (event.request.method === "GET" && Object.hasOwn(FILES, name)) event.respondWith(answer(name, event.request));
});

async function keep() {
  const cache = await caches.open(CACHE);
  await cache.addAll(Object.keys(FILES).map((name) => new Request(name, { cache: "no-cache" })));
}

/** Delete what earlier versions kept. */
async function forget() {
  const names = await caches.keys();
  const former = names.filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(former.map((name) => caches.delete(name)));
}

function nameOf(address) {
  const [path] = address.split(/[?#]/);
  if (!path.startsWith(registration.scope)) return "";
  return path.slice(registration.scope.length) || "index.html";
}

async function answer(name, request) {
  const cache = await caches.open(CACHE);
  const found = (await cache.match(name)) ?? (await fetch(request));
  const headers = new Headers(found.headers);
  for (const [header, value] of Object.entries(HEADERS)) headers.set(header, value);
  return new Response(found.body, { status: found.status, headers });
}
