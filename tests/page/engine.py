"""The page's arithmetic in an installed Chromium, called with arrays and giving arrays."""

import base64
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

_CALL = """async ([address, body, given]) => {
    const kinds = { uint8: Uint8ClampedArray, float32: Float32Array };
    const unpacked = (value) => {
        if (!value?.base64) return value;
        const bytes = Uint8Array.from(atob(value.base64), (character) => character.charCodeAt(0));
        return new kinds[value.dtype](bytes.buffer);
    };
    const packed = (value) => {
        if (!ArrayBuffer.isView(value)) return value;
        const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
        const text = Array.from({ length: Math.ceil(bytes.length / 8192) }, (_, at) =>
            String.fromCharCode(...bytes.subarray(8192 * at, 8192 * (at + 1)))).join("");
        return { base64: btoa(text), dtype: value instanceof Float32Array ? "float32" : "uint8" };
    };
    const load = (name) => import(`${address}engine/${name}.js`);
    const values = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, unpacked(value)]));
    const work = new Function("load", "given", `return (async () => { ${body} })()`);
    const result = await work(load, values);
    return Array.isArray(result) ? result.map(packed) : packed(result);
}"""


class Engine:
    """A page from which the modules can be loaded."""

    def __init__(self, page: Any, address: str) -> None:
        self._page = page
        self._address = address

    def __call__(self, body: str, **given: Any) -> Any:
        """What the inside of a function returns. It has `load(name)`, a module, and `given`; arrays are flat there."""
        sent = {name: _packed(value) for name, value in given.items()}
        result = self._page.evaluate(_CALL, [self._address, body, sent])
        return [_unpacked(each) for each in result] if isinstance(result, list) else _unpacked(result)


@contextmanager
def hosted(folder: Path) -> Iterator[str]:
    """The address of a host of static files, which adds no headers of its own."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def _packed(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return {"base64": base64.b64encode(value.tobytes()).decode(), "dtype": str(value.dtype)}


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict) and "base64" in value:
        return np.frombuffer(base64.b64decode(value["base64"]), value["dtype"])
    return value
