"""Each stage of a cut-out of 48 megapixels, its time and peak memory, beside rembg's with the same weights.

    python benchmarks/large.py [--rounds 3] [--quick] [--json FILE] [--peer PYTHON]

Every stage runs in a process of its own, on the file that the stage before wrote, ours and theirs in turn. Memory is
what a stage takes beyond its input (Linux). Runtime and precision are rembg's for both. The only refinement in rembg is
`alpha_matting`, whose closed form keeps 81 numbers for each pixel; it is not run at this size.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from bench import new_parser, publish, table
from cutout import VERSION, draw_apart
from PIL import Image
from sides import forget_peak, install_peer, memory_mib

HERE = Path(__file__).resolve()
OURS = {
    "decode": "photo.jpg",
    "mask": "image",
    "outline, fast": "image",
    "outline, balanced": "image",
    "colours": "image",
    "cut out": "image",
    "PNG": "cutout",
}
"""Stages, and the file that each begins with."""
THEIRS = ("decode", "mask", "cut out", "PNG")
SIDES = ("ours", "theirs")
Work = Callable[[], Any]


def main() -> None:
    """Draw the picture, go through the stages in turn, print, write if asked."""
    parser = new_parser(__doc__, "12 MP instead of 48, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has rembg  [default: one in .peers]")
    parser.add_argument("--stage", nargs=3, metavar=("SIDE", "STAGE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        run_stage(*arguments.stage)
        return
    size, num_rounds = ("12 MP", 1) if arguments.quick else ("48 MP", arguments.rounds)
    pythons = {"ours": sys.executable, "theirs": arguments.peer or install_peer("rembg", VERSION, "[cpu,cli]")}
    with tempfile.TemporaryDirectory() as name:
        folders = {side: Path(name) / side for side in pythons}
        photo = draw_apart([size], Path(name))[size]
        for folder in folders.values():
            folder.mkdir()
            (folder / "photo.jpg").write_bytes(photo.read_bytes())
        rows = []
        for stage in OURS:
            row: dict[str, Any] = {"stage": stage}
            for _ in range(num_rounds):
                for side, python in pythons.items():
                    if side == "ours" or stage in THEIRS:
                        command = [python, HERE, "--stage", side, stage, folders[side]]
                        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                        row.setdefault(side, []).append(json.loads(told.splitlines()[-1]))
            rows.append(row)
    facts = {"rembg": VERSION, "rounds": num_rounds, "rows": rows}
    publish(arguments, facts, to_markdown(size, rows), f"rembg {VERSION}; medians of {num_rounds} rounds")


def run_stage(side: str, stage: str, name: str) -> None:
    """Runs in a process of its own: one stage, timed; what it makes is left for the next."""
    folder = Path(name)
    work, left = (our_work if side == "ours" else their_work)(stage, folder)
    forget_peak()
    before, start = memory_mib("VmRSS"), perf_counter()
    found = work()
    seconds, grown = perf_counter() - start, memory_mib("VmHWM") - before
    if left:
        np.save(folder / f"{left}.npy", np.asarray(found))
    print(json.dumps({"seconds": seconds, "MiB": grown}))


def our_work(stage: str, folder: Path) -> tuple[Work, str]:
    """What a stage of ours does, with its input read; and the name of what it makes."""
    from u2net import new_session
    from u2net.cutout.compose import with_alpha
    from u2net.cutout.matting.foreground import foreground
    from u2net.cutout.matting.refine import refine
    from u2net.images.load import load_image
    from u2net.images.save import encode

    if stage == "decode":
        content = (folder / "photo.jpg").read_bytes()
        return lambda: load_image(content).rgb, "image"
    if stage == "PNG":
        cutout = picture(folder, "cutout")
        return lambda: encode(cutout, "png"), ""
    rgb = picture(folder, "image")
    if stage == "mask":
        session, whole = new_session("u2netp", runtime="onnxruntime", precision="fp32"), load_image(rgb)
        return lambda: session.mask(whole), "mask"
    if stage.startswith("outline"):
        mask, kind = np.load(folder / "mask.npy"), stage.split()[-1]
        return lambda: refine(rgb, mask, kind), "alpha"
    alpha = np.load(folder / "alpha.npy")
    if stage == "colours":
        pixels = np.asarray(rgb)
        return lambda: foreground(pixels, alpha), ""
    return lambda: with_alpha(rgb, alpha, in_place=True), "cutout"


def their_work(stage: str, folder: Path) -> tuple[Work, str]:
    """The same of rembg."""
    from rembg import new_session
    from rembg.bg import naive_cutout

    if stage == "decode":
        content = (folder / "photo.jpg").read_bytes()

        def decode() -> Image.Image:
            image = Image.open(io.BytesIO(content))
            image.load()
            return image

        return decode, "image"
    if stage == "PNG":
        cutout = picture(folder, "cutout")
        return lambda: cutout.save(io.BytesIO(), "PNG"), ""
    image = picture(folder, "image")
    if stage == "mask":
        session = new_session("u2netp")
        return lambda: session.predict(image)[0], "mask"
    mask = picture(folder, "mask")
    return lambda: naive_cutout(image, mask), "cutout"


def picture(folder: Path, name: str) -> Image.Image:
    """What a stage has left, in pixels of its own."""
    return Image.fromarray(np.load(folder / f"{name}.npy")).copy()


def to_markdown(size: str, rows: list[dict[str, Any]]) -> str:
    """The table: medians, with the least and the most of the rounds."""
    lines = []
    for row in rows:
        cells = [row["stage"]]
        for figure, digits in (("seconds", 2), ("MiB", 0)):
            for side in SIDES:
                found = [one[figure] for one in row.get(side, [])]
                extremes = f" [{min(found):.{digits}f}–{max(found):.{digits}f}]" if len(found) > 1 else ""
                cells.append(f"{median(found):.{digits}f}{extremes}" if found else "")
        lines.append(cells)
    return table([f"stage at {size}", "ours, s", "rembg, s", "ours, MiB", "rembg, MiB"], lines)


if __name__ == "__main__":
    main()
