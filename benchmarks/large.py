"""Each stage of a cut-out of 48 megapixels, its time and peak memory, beside rembg's with the same weights.

    python benchmarks/large.py [--rounds 3] [--json FILE] [--peer PYTHON]

Every stage runs in a process of its own, on what the stage before has left in a file, ours and theirs in turn; what
counts as memory is what a stage takes beyond its input (Linux). Runtime and precision are rembg's for both. rembg has
no refinement but `alpha_matting`, whose closed form keeps 81 numbers for each pixel and is not tried at this size.
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
from cutout import VERSION, draw_apart
from machine import commit, cpu, forget_peak, memory_mib, publish
from peer import install_peer
from PIL import Image

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, and as Markdown beside it")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has rembg  [default: one in .peers]")
    parser.add_argument("--stage", nargs=3, metavar=("SIDE", "STAGE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        run_stage(*arguments.stage)
        return
    pythons = {"ours": sys.executable, "theirs": arguments.peer or install_peer("rembg", VERSION, "[cpu,cli]")}
    with tempfile.TemporaryDirectory() as name:
        folders = {side: Path(name) / side for side in pythons}
        photo = draw_apart(["48 MP"], Path(name))["48 MP"]
        for folder in folders.values():
            folder.mkdir()
            (folder / "photo.jpg").write_bytes(photo.read_bytes())
        rows = []
        for stage in OURS:
            row: dict[str, Any] = {"stage": stage}
            for _ in range(arguments.rounds):
                for side, python in pythons.items():
                    if side == "ours" or stage in THEIRS:
                        command = [python, HERE, "--stage", side, stage, folders[side]]
                        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                        row.setdefault(side, []).append(json.loads(told.splitlines()[-1]))
            rows.append(row)
    result = {
        "command": "python benchmarks/large.py",
        "cpu": cpu(),
        "commit": commit(),
        "rembg": VERSION,
        "rounds": arguments.rounds,
        "rows": rows,
    }
    publish(result, to_markdown(result), arguments.json)


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
    from u2net.cutout.compose import cut_out
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
    opacity = Image.fromarray(alpha)
    return lambda: cut_out(rgb, opacity, in_place=True), "cutout"


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


def to_markdown(result: dict[str, Any]) -> str:
    """The table, and where it comes from."""
    lines = [
        f"`{result['command']}` at {result['commit']}; {result['cpu']}; rembg {result['rembg']};"
        f" medians of {result['rounds']} rounds.",
        "",
        "| stage at 48 MP | ours, s | rembg, s | ours, MiB | rembg, MiB |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        cells = [row["stage"]]
        for figure, digits in (("seconds", 2), ("MiB", 0)):
            medians = [median(one[figure] for one in row[side]) if side in row else None for side in SIDES]
            cells += ["" if value is None else f"{value:.{digits}f}" for value in medians]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
