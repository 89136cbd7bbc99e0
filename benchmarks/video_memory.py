"""Whether the memory of `u2net remove` grows with the length of a film.

    python benchmarks/video_memory.py CLIP [--rounds N] [--quick] [--json FILE]

CLIP, forwards and backwards again and again, becomes a film of 320 × 180 of 200 frames, and one of 2,000. Each is cut
out to a transparent WebM by the default model, in each runtime. Memory is the most that the process held.
"""

import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from time import sleep
from typing import Any

from bench import named, new_parser, publish, table, versions
from sides import memory_mib
from video import frames_of, write_film

RUNTIMES = ("openvino", "onnxruntime")
LENGTHS = (200, 2000)
SIZE = (320, 180)
_INTERVAL_S = 0.2


def main() -> None:
    """Measure, print, write if asked."""
    parser = new_parser(__doc__, "one round, films of 40 and 200 frames")
    parser.add_argument("clip", type=Path, metavar="CLIP")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    lengths, num_rounds = ((40, 200), 1) if arguments.quick else (LENGTHS, arguments.rounds)
    found: dict[tuple[str, int], list[float]] = {(runtime, num): [] for runtime in RUNTIMES for num in lengths}
    with tempfile.TemporaryDirectory() as name:
        films = {num: Path(name, f"{num}.mp4") for num in lengths}
        frames = frames_of(arguments.clip, SIZE)
        for num, film in films.items():
            write_film(film, islice(cycle([*frames, *frames[-2:0:-1]]), num), SIZE)
        for _ in range(num_rounds):
            for (runtime, num), peaks in found.items():
                peaks.append(peak_mib(films[num], runtime))
    rows = [
        {"runtime": runtime, "frames": num, "mib": median(peaks), "least": min(peaks), "most": max(peaks)}
        for (runtime, num), peaks in found.items()
    ]
    packages = versions("u2net", "openvino", "onnxruntime", "av")
    publish(arguments, {"rows": rows}, to_markdown(rows), f"{num_rounds} rounds; {named(packages)}")


def peak_mib(film: Path, runtime: str) -> float:
    """The most memory that the command holds, read while it runs: the kernel's own count begins with its parent's."""
    target = film.with_suffix(".webm")
    remove = [sys.executable, "-m", "u2net", "remove", str(film)]
    command = [*remove, "-o", str(target), "--overwrite", "--runtime", runtime]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        most = 0.0
        while process.poll() is None:
            try:
                most = memory_mib("VmHWM", process.pid)
            except StopIteration:  # it has ended, and holds nothing
                continue
            sleep(_INTERVAL_S)
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}")
    return round(most)


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """A row for each runtime and length."""
    cells = ([row["runtime"], f"{row['frames']:,}", row["mib"], row["least"], row["most"]] for row in rows)
    return table(["", "frames", "MiB, median", "least", "most"], cells)


if __name__ == "__main__":
    main()
