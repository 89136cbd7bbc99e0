"""Cutting pictures out in Chromium: this package beside @imgly/background-removal, in turns; what both load.

    make web && python benchmarks/web.py --json benchmarks/results/web.json

Each side has a page of its own in the same browser, with the headers that threads need. A time is that of one call of
`removeBackground` with a JPEG, until there is a PNG. `--pictures FOLDER` keeps the cut-outs of both to be looked at.
Needs playwright, Chromium and npm.
"""

import base64
import functools
import io
import json
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench import in_turns, named, new_parser, publish, ratio_row, ratio_table
from PIL import Image
from playwright.sync_api import sync_playwright
from sides import enlarge

ROOT = Path(__file__).parents[1]
WEB = ROOT / "web"
PEER = ROOT / ".peers/imgly"
PEER_VERSION = "1.4.5"  # the last whose model and runtime are in a package of the registry too

OURS = """
import { removeBackground } from "./dist/index.js";
window.cut = (file) => removeBackground(file, { device: "wasm", runtime: new URL("./", location.href).href });
"""
THEIRS = """
import { removeBackground } from "@imgly/background-removal";
const config = { publicPath: new URL("data/", location.href).href };
window.cut = (file) => removeBackground(file, config);
"""
CALL = """async (text) => {
    const file = await (await fetch(`data:image/jpeg;base64,${text}`)).blob();
    const start = performance.now();
    const cutout = await window.cut(file);
    const milliseconds = performance.now() - start;
    const reader = new FileReader();
    await new Promise((resolve) => { reader.onload = resolve; reader.readAsDataURL(cutout); });
    return [milliseconds, reader.result.split(",")[1]];
}"""


def main() -> None:
    """Measure both sides."""
    parser = new_parser(__doc__, "three rounds, and no large picture")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="keep the cut-outs of both here")
    arguments = parser.parse_args()
    sites = {"ours": our_site(), "theirs": their_site()}
    photograph = Image.open(ROOT / "docs/images/coffee.jpg").convert("RGB")
    pictures = {"600 × 400": photograph}
    if not arguments.quick:
        pictures["3000 × 2000"] = enlarge(photograph, (3000, 2000))
    rows, loaded = [], Counter[str]()
    with sync_playwright() as driver, served(sites, loaded) as address:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        pages = {}
        for side in sites:
            pages[side] = browser.new_page()
            pages[side].goto(f"{address}{side}/")
            pages[side].wait_for_function("window.cut && crossOriginIsolated")
        for name, picture in pictures.items():
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=92)
            text = base64.b64encode(buffer.getvalue()).decode()
            calls = [functools.partial(page.evaluate, CALL, text) for page in pages.values()]
            rounds = in_turns(calls, 3 if arguments.quick else 5)
            ours, theirs = ([milliseconds for milliseconds, _ in side] for side in zip(*rounds, strict=True))
            rows.append(ratio_row(f"{name} pixels", "ms", ours, theirs, digits=0))
            if arguments.pictures:
                keep(arguments.pictures, name, {side: each[1] for side, each in zip(sites, rounds[-1], strict=True)})
        version = browser.version
        browser.close()
    rows.append(ratio_row("loaded", "MB", [loaded["ours"] / 1e6], [loaded["theirs"] / 1e6], digits=1))
    versions = {"Chromium": version, "@imgly/background-removal": PEER_VERSION, "onnxruntime-web": runtime_version(WEB)}
    body = ratio_table(rows, "ours", "@imgly/background-removal")
    publish(arguments, {"versions": versions, "rows": rows}, body, named(versions))


def our_site() -> Path:
    """The package, as `make web` built it, in a page."""
    site = ROOT / "build/web-benchmark/ours"
    if not (WEB / "dist/index.js").exists():
        raise SystemExit("run `make web` first")
    bundle(OURS, WEB, site)
    shutil.copy(WEB / "dist/u2netp_distilled.onnx", site)
    for name in ("ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.mjs"):
        shutil.copy(WEB / "node_modules/onnxruntime-web/dist" / name, site)
    return site


def their_site() -> Path:
    """The other package with its model and runtime, which are in a package of the registry, in a page."""
    site = ROOT / "build/web-benchmark/theirs"
    if not (PEER / "node_modules/@imgly/background-removal-data").exists():
        PEER.mkdir(parents=True, exist_ok=True)
        (PEER / "package.json").write_text('{"private": true}')
        wanted = [f"@imgly/background-removal{part}@{PEER_VERSION}" for part in ("", "-data")]
        subprocess.run(["npm", "install", "--silent", "--ignore-scripts", *wanted], cwd=PEER, check=True)
    bundle(THEIRS, PEER, site)
    if not (site / "data").exists():
        shutil.copytree(PEER / "node_modules/@imgly/background-removal-data/dist", site / "data")
    return site


def bundle(code: str, package: Path, site: Path) -> None:
    """A page with some code, which imports what is installed in a package's folder."""
    site.mkdir(parents=True, exist_ok=True)
    (site / "index.html").write_text('<!doctype html><title>cut</title><script type="module" src="main.js"></script>')
    esbuild = [WEB / "node_modules/.bin/esbuild", "--bundle", "--format=esm", "--minify", "--log-level=error"]
    options = [f"--outfile={site / 'main.js'}", "--external:node:*", "--external:module", "--external:fs"]
    subprocess.run([*esbuild, *options], input=code, text=True, cwd=package, check=True)


@contextmanager
def served(sites: dict[str, Path], loaded: Counter[str]) -> Iterator[str]:
    """The address of a host of both sites, which counts the bytes that it sends of each."""

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            side, _, rest = path.lstrip("/").partition("?")[0].partition("/")
            return str(sites[side] / rest) if side in sites else "/nowhere"

        def end_headers(self) -> None:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def copyfile(self, source: Any, outputfile: Any) -> None:
            content = source.read()
            loaded[self.path.split("/")[1]] += len(content)
            outputfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def keep(folder: Path, name: str, cutouts: dict[str, str]) -> None:
    """Write both cut-outs of a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, text in cutouts.items():
        (folder / f"{name.split()[0]}-{side}.png").write_bytes(base64.b64decode(text))


def runtime_version(package: Path) -> str:
    """Of the installed onnxruntime-web."""
    about = json.loads((package / "node_modules/onnxruntime-web/package.json").read_text())
    return str(about["version"])


if __name__ == "__main__":
    main()
