/** A ZIP archive whose files are stored as they are: pictures are packed already. */

import { crc32 } from "./engine/crc32.js";

const UTF8_NAMES = 0x0800;
const VERSION = 20;
const DATE = (46 << 9) | (1 << 5) | 1; // 1 January 2026; archives of the same pictures are the same

/** An archive, from `[{name, blob}, …]` with names that differ. 4 GiB at most, as ZIP without its extensions. */
export async function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, blob } of files) {
    const path = new TextEncoder().encode(name);
    const sum = crc32(new Uint8Array(await blob.arrayBuffer()));
    const common = [2, VERSION, 2, UTF8_NAMES, 2, 0, 2, 0, 2, DATE, 4, sum, 4, blob.size, 4, blob.size, 2, path.length, 2, 0];
    const local = record(4, 0x04034b50, ...common);
    directory.push(record(4, 0x02014b50, 2, VERSION, ...common, 2, 0, 2, 0, 2, 0, 4, 0, 4, offset), path);
    parts.push(local, path, blob);
    offset += local.length + path.length + blob.size;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  if (offset + size > 0xffffffff) throw new Error("These are more than an archive can hold: download them one by one.");
  const end = record(4, 0x06054b50, 2, 0, 2, 0, 2, files.length, 2, files.length, 4, size, 4, offset, 2, 0);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Little-endian numbers, each after its length in bytes. */
function record(...pairs) {
  const bytes = [];
  for (let at = 0; at < pairs.length; at += 2) {
    for (let byte = 0; byte < pairs[at]; byte += 1) bytes.push((pairs[at + 1] >>> (8 * byte)) & 255);
  }
  return Uint8Array.from(bytes);
}
