"""A cut-out beside rembg's: whole command and warm call, time, memory, size of the file.

    python benchmarks/cutout.py [--quick] [--json FILE] [--photo FILE] [--model FILE] [--ways NAME …]

Pictures of 1, 12 and 48 megapixels are cut out by `u2net remove` and `rembg i -m u2netp`, each in an environment of its
own and with its own file of the same weights (or both with --model's), in turn; then by one process for each side that
keeps its session, from the bytes of a JPEG to the bytes of a PNG. Ours goes in each of --ways: as rembg computes; with
OpenVINO in fp32; by the fastest runtime and precision that is installed; and as it comes, which refines outlines too.
What steps of our pipeline give is then measured by taking each away. With --json, results are written to FILE, and as
Markdown beside it. The first time, rembg is installed into `.peers`, which needs a network, unless --peer names an
interpreter that has it. Where rembg cannot download its model, it is given ours; its weights are the same.

The pictures are the demo photograph, enlarged, with its own fine detail (what a blur of one pixel takes away) laid over
as tiles, for photographs look alike at every scale, and saved as JPEG: 1.4 bytes a pixel as PNG, where photographs
straight from small cameras' files have 1.2 to 1.9. --photo takes another photograph as it is.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from bench import named, new_parser, publish, spread, table, versions
from PIL import Image
from sides import Side, enlarge, forget_peak, install_peer, memory_mib

VERSION = "2.0.86"
HERE = Path(__file__).resolve()
PHOTOGRAPH = HERE.parents[1] / "docs" / "images" / "coffee.jpg"
SIZES = {"1 MP": (1224, 816, 92), "12 MP": (4242, 2828, 92), "48 MP": (8484, 5656, 85)}  # width, height, JPEG quality
WAYS = {
    "alike": ("onnxruntime", "fp32", "coarse"),
    "openvino": ("openvino", "fp32", "coarse"),
    "fastest": ("auto", "auto", "coarse"),
    "default": ("auto", "auto", "fast"),
}
"""Runtime, precision and quality; rembg's are ONNX Runtime, fp32 and the mask as the network gives it."""
Figures = dict[str, float]


def main() -> None:
    """Set rembg up, ask both sides in turn, take steps away, print, write if asked."""
    parser = new_parser(__doc__, "1 and 12 MP in 3 rounds, and no steps")
    parser.add_argument("--photo", type=Path, metavar="FILE", help="one photograph instead of the three sizes")
    parser.add_argument("--model", metavar="MODEL", help="a name or an ONNX file that both can run  [default: u2netp]")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="how ours goes")
    parser.add_argument("--rounds", type=int, help="[default: 7, or 3 with --quick]")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has it  [default: one in .peers]")
    parser.add_argument("--draw", nargs=2, metavar=("SIZE", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--answer", nargs=3, metavar=("SIDE", "MODEL", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        answer(*arguments.answer)
        return
    if arguments.draw:
        draw(*arguments.draw)
        return
    from u2net.models.zoo import resolve  # rembg's interpreter has none of ours

    python = arguments.peer or install_peer("rembg", VERSION, "[cpu,cli]")
    num_rounds = arguments.rounds or (3 if arguments.quick else 7)
    sizes = [name for name in SIZES if not (arguments.quick and name == "48 MP")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = resolve(arguments.model or "u2netp")
        if arguments.model or not has_its_model(python):  # which rembg takes under the name of another
            shutil.copy(model, folder / "u2netp.onnx")
            os.environ |= {"U2NET_HOME": name, "MODEL_CHECKSUM_DISABLED": "1"}
        photos = {arguments.photo.name: arguments.photo} if arguments.photo else draw_apart(sizes, folder)
        rows = compare(photos, model, python, arguments.ways, num_rounds)
        steps = [] if arguments.quick else steps_of(list(photos.values())[min(1, len(photos) - 1)], num_rounds)
    packages = versions("u2net", "onnxruntime", "openvino", "pillow", "numpy", "isal") | {"rembg": VERSION}
    about = f"{model.name}; {named(packages)}; ratios are of times by the clock, processors' seconds are in brackets"
    facts = {"model": model.name, "versions": packages, "rows": rows, "steps": steps}
    publish(arguments, facts, to_markdown(rows, steps), about)


def has_its_model(python: str) -> bool:
    """Whether rembg has its own file of U²-Net†, or can download it."""
    asked = [python, "-c", "import rembg; rembg.new_session('u2netp')"]
    return not subprocess.run(asked, capture_output=True, check=False).returncode


def draw_apart(names: list[str], folder: Path) -> dict[str, Path]:
    """Each size's photograph, drawn by a process of its own: the memory of this one is counted as its children's."""
    photos = {name: folder / f"{name.replace(' ', '-')}.jpg" for name in names}
    for name, path in photos.items():
        subprocess.run([sys.executable, HERE, "--draw", name, path], check=True)
    return photos


def draw(name: str, path: str) -> None:
    """Write the demo photograph at a size of `SIZES`, with fine detail, as a JPEG file."""
    width, height, quality = SIZES[name]
    enlarge(Image.open(PHOTOGRAPH).convert("RGB"), (width, height)).save(path, quality=quality)


# ---- Both sides ------------------------------------------------------------------------------------------------


def compare(
    photos: dict[str, Path], model: Path, python: str, ways: list[str], num_rounds: int
) -> list[dict[str, Any]]:
    """Rows of the table: the command, then the warm call, each at every size in each of our ways."""
    rembg = [str(Path(python).with_name("rembg")), "i", "-m", "u2netp"]
    rows = []
    for name, photo in photos.items():
        targets = [photo.with_suffix(f".{who}.png") for who in (*ways, "theirs")]
        commands = [command_of(way, model, photo, target) for way, target in zip(ways, targets, strict=False)]
        commands.append([*rembg, str(photo), str(targets[-1])])
        rounds = [[run(command) for command in commands] for _ in range(num_rounds + 1)][1:]  # the first warms up
        for i, way in enumerate(ways):
            facts = {"bytes_ours": targets[i].stat().st_size, "bytes_theirs": targets[-1].stat().st_size}
            rows.append(row(f"command, {name}, {way}", [[one[i], one[-1]] for one in rounds]) | facts)
    with ExitStack() as stack:
        started = [(sys.executable, "ours", way) for way in ways] + [(python, "theirs", "alike")]
        sides = [stack.enter_context(Side([one, HERE, "--answer", who, model, way])) for one, who, way in started]
        for name, photo in photos.items():
            rounds = [[side.ask(f"time {photo}") for side in sides] for _ in range(num_rounds + 1)][1:]
            masks = [np.asarray(Image.open(side.ask(f"mask {photo}")["path"])).astype(int) for side in sides]
            for i, way in enumerate(ways):
                facts = {"bytes_ours": int(rounds[0][i]["bytes"]), "bytes_theirs": int(rounds[0][-1]["bytes"])}
                facts |= {"largest_difference_of_masks": int(np.abs(masks[i] - masks[-1]).max())}
                rows.append(row(f"warm call, {name}, {way}", [[one[i], one[-1]] for one in rounds]) | facts)
    return rows


def command_of(way: str, model: Path, photo: Path, target: Path) -> list[str]:
    """Ours."""
    runtime, precision, quality = WAYS[way]
    options = ["--runtime", runtime, "--precision", precision, "--quality", quality, "--model", str(model)]
    return [sys.executable, "-m", "u2net", "remove", str(photo), "-o", str(target), "--overwrite", *options]


def run(command: list[str]) -> Figures:
    """Seconds on the clock and of processors, and the largest memory, of a command."""
    start = perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)  # which nobody can ask for any more
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}")
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}


def row(name: str, rounds: list[list[Figures]]) -> dict[str, Any]:
    """Medians of both sides, and by how much theirs is larger; the spread is that of the rounds."""
    ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in rounds]
    found: dict[str, Any] = {"name": name, "unit": "s"}
    for figure, suffix in (("seconds", ""), ("cpu", "_cpu_s"), ("peak", "_peak_mib")):
        for i, who in enumerate(("ours", "theirs")):
            found[who + suffix] = round(median(pair[i][figure] for pair in rounds), 3)
    return found | spread(ratios) | {"rounds": len(rounds)}


def answer(side: str, model: str, way: str) -> None:
    """Runs in the process of a side: answer questions until there are no more."""
    if side == "ours":
        from u2net import new_session, remove
        from u2net.models.transform import REMBG

        runtime, precision, quality = WAYS[way]
        session = new_session(model, runtime=runtime, precision=precision)
        feed_alike = lambda: new_session(model, runtime=runtime, precision=precision, transform=REMBG)  # noqa: E731
        options = {"quality": quality}
    else:
        from rembg import new_session, remove

        session = new_session("u2netp")
        feed_alike = lambda: session  # noqa: E731
        options = {}
    for line in sys.stdin:
        question, _, path = line.strip().partition(" ")
        content = Path(path).read_bytes()
        if question == "mask":
            target = f"{path}.{side}.{way}.mask.png"
            Image.open(io.BytesIO(remove(content, session=feed_alike(), only_mask=True, **options))).save(target)
            print(json.dumps({"path": target}), flush=True)
            continue
        forget_peak()
        start, start_cpu = perf_counter(), sum(os.times()[:2])
        result = remove(content, session=session, **options)
        figures: Figures = {"seconds": perf_counter() - start, "cpu": sum(os.times()[:2]) - start_cpu}
        print(json.dumps(figures | {"bytes": len(result), "peak": memory_mib("VmHWM")}), flush=True)


def steps_of(photo: Path, num_rounds: int) -> list[dict[str, Any]]:
    """Rows of the other table."""
    from cutout_steps import measure_steps

    return measure_steps(photo, num_rounds)


# ---- Results ---------------------------------------------------------------------------------------------------


def to_markdown(rows: list[dict[str, Any]], steps: list[dict[str, Any]]) -> str:
    """Both tables."""
    head = "|u2net, s|rembg, s|ratio|from|to|u2net, MiB|rembg, MiB|u2net, MB|rembg, MB|masks apart by"
    lines = []
    for row in rows:
        cells = [row["name"], *(f"{row[who]:.2f} ({row[f'{who}_cpu_s']:.2f})" for who in ("ours", "theirs"))]
        cells += [row["ratio"], row["ratio_min"], row["ratio_max"]]
        cells += [f"{row[f'{who}_peak_mib']:.0f}" for who in ("ours", "theirs")]
        cells += [f"{row[f'bytes_{who}'] / 1e6:.2f}" for who in ("ours", "theirs")]
        lines.append([*cells, row.get("largest_difference_of_masks", "")])
    text = table(head.split("|"), lines)
    if steps:
        keys = ("name", "with", "without", "saves", "saves_min", "saves_max", "remark")
        head = "at 12 MP|with the step, ms|without, ms|saves, ms|from|to|remark"
        text += "\n" + table(head.split("|"), ([step[key] for key in keys] for step in steps))
    return text


if __name__ == "__main__":
    main()
