"""Every form that `u2net export` writes, compared with torch on photographs: grey levels of masks, bytes of files.

    python benchmarks/engines.py DATA [--model NAME] [--pictures N] [--quick] [--json FILE]

DATA is a data set; N of its pictures (20 by default), evenly taken, are looked at by torch and by each form in its own
engine. All but the last two rows share this package's feeding and reading; these files do both themselves. A form
whose package is not installed, or that does not run here, has no numbers but its length. With --json, results are
written to FILE, and as Markdown beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
from bench import every, named, new_parser, publish, table, versions
from numpy.typing import NDArray

from u2net import Session
from u2net.engines import ENGINES
from u2net.engines.export import export_engine
from u2net.errors import MissingExtra
from u2net.evaluation.dataset import open_dataset
from u2net.images.load import load_image
from u2net.images.picture import Picture
from u2net.inference.open import new_session
from u2net.inference.runtimes import openvino_core
from u2net.models.zoo import resolve
from u2net.net import export_onnx, load_checkpoint
from u2net.net.backend import torch_backend

PACKAGES = ("torch", "onnxruntime", "openvino", "ai-edge-litert", "ncnn", "coremltools", "pillow")
Look = Callable[[Picture], NDArray[np.uint8]]


def main() -> None:
    """Write each form, look at the pictures, print, write if asked."""
    parser = new_parser(__doc__, "4 pictures")
    parser.add_argument("data", type=Path, help="data set whose pictures are looked at")
    parser.add_argument("--model", default="u2netp", help="model that is exported  [default: u2netp]")
    parser.add_argument("--pictures", type=int, default=20, metavar="N", help="how many pictures  [default: 20]")
    arguments = parser.parse_args()
    examples = open_dataset(arguments.data).examples
    num = 4 if arguments.quick else arguments.pictures
    chosen = every(examples, max(1, len(examples) // num), quick=False)[:num]
    pictures = [load_image(example.image.read()) for example in chosen]
    torch.set_num_threads(1)  # beside other work, threads would wait for each other
    network, card = load_checkpoint(resolve(arguments.model))
    torch_session = Session(torch_backend(network), card)
    expected = [torch_session.mask(picture).astype(int) for picture in pictures]
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        for name, (num_bytes, look) in forms(network, card, Path(folder)).items():
            row: dict[str, Any] = {"form": name, "bytes": num_bytes}
            if look is not None:
                found = [np.abs(look(p) - mask) for p, mask in zip(pictures, expected, strict=True)]
                row["largest"] = int(max(difference.max() for difference in found))
                row["mean"] = round(float(np.mean([difference.mean() for difference in found])), 4)
            rows.append(row)
            print(row, file=sys.stderr)
    packages = versions(*PACKAGES)
    facts = {"model": arguments.model, "pictures": len(pictures), "versions": packages, "rows": rows}
    publish(arguments, facts, to_markdown(rows), f"{len(pictures)} pictures, {arguments.model}; {named(packages)}")


def forms(network: Any, card: Any, folder: Path) -> dict[str, tuple[int, Look | None]]:
    """By the name of each form that can be written here: its length, and what makes masks by it."""
    found: dict[str, tuple[int, Look | None]] = {}
    for name, options in {
        "ONNX, any size": {},
        "ONNX, one size": {"static": True},
        "ONNX, 16 bits": {"half": True},
    }.items():
        path = folder / f"{len(found)}.onnx"
        export_onnx(network, path, card, **options)
        found[name] = path.stat().st_size, new_session(path, runtime="onnxruntime", precision="fp32", threads=1).mask
    for suffix, engine in ENGINES.items():
        path = folder / f"{len(found)}{suffix}"
        with suppress(MissingExtra):
            num_bytes = export_engine(network, path, card).num_bytes
            look = Session(engine.open(path), card).mask if engine.open else None
            found[f"{engine.name}, `{suffix}`"] = num_bytes, look
    path = folder / "whole.onnx"
    export_onnx(network, path, card, preprocessing=True)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    whole = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    num_bytes = path.stat().st_size
    found["with preprocessing, ONNX Runtime"] = num_bytes, lambda p: whole.run(None, {"image": pixels(p)})[0][0]
    with suppress(MissingExtra):
        compiled = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found["with preprocessing, OpenVINO"] = num_bytes, lambda p: compiled(pixels(p))[0][0]
    return found


def pixels(picture: Picture) -> NDArray[np.uint8]:
    """uint8 (1, H, W, 3), as any program has them."""
    return np.asarray(picture.view())[None]


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    numbers = ["bytes", "largest difference of a mask, grey levels", "mean"]
    cells = ([r["form"], f"{r['bytes']:,}", r.get("largest", "not run"), r.get("mean", "not run")] for r in rows)
    return table(["form", *numbers], cells)


if __name__ == "__main__":
    main()
