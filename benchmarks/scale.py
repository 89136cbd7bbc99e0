"""Folders at scale: what a picture costs, by processes, threads and engines, and what a million of them would.

    python benchmarks/scale.py ECSSD [--rounds 5] [--num 120] [--sides NAME …] [--more] [--quick] [--json FILE]

ECSSD is a data set's folder or tar. Its first --num pictures are saved as JPEG files of their own size, and eight of
them at 12 megapixels, with fine detail. `u2net remove` then cuts out a folder with a few of them and one with all, in
turns: by a process of one thread, by one with its default threads, by the default pool, and by Ray on this machine
alone; the large ones by the pool. Pictures per second come from the times of the files, without the first quarter; the
rest of the run's time is the start. Processor seconds are those of all processes: what the larger folder takes more,
per picture that it has more.
Then the parts are measured alone (scale_parts.py), and the costs of a million and a billion pictures are reckoned
(scale_report.py). The machine should do nothing else; if it is never idle for long, --more adds rounds to those in
FILE, of the given --sides.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import commit, named, new_parser, publish, versions
from scale_report import costs, heads, limits, shards, to_markdown
from sides import Taken, enlarge, run_watched

from u2net.evaluation.dataset import open_dataset
from u2net.images.load import load_image

SMALL, LARGE = "400 × 300", "12 MP"
SIDES = {
    "one process, one thread": (SMALL, ("--workers", "1", "--threads", "1")),
    "one process": (SMALL, ("--workers", "1")),
    "pool": (SMALL, ()),
    "Ray": (SMALL, ("--engine", "ray")),
    "pool, 12 MP": (LARGE, ()),
}
QUALITY = 92  # of the JPEG files
MEGAPIXELS = 12e6
FEW = 4  # times fewer pictures has the smaller folder, and as many of the larger one's are not timed
NUM_LARGE = 8  # that are drawn; a folder has each several times
RAY_PASSES = (2_000, 8_000)  # pictures of two folders
Row = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """A side's runs over few pictures and over all."""

    few: Taken
    all: Taken
    per_s: float
    """Pictures of the second run, once it is under way."""


def main() -> None:
    """Draw, take turns, take parts, reckon, print, write if asked."""
    parser = new_parser(__doc__, "one round of 30 pictures by the pool alone, without the other parts")
    parser.add_argument("ecssd", help="a folder or tar of pictures and masks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num", type=int, default=120, help="small pictures of a folder; a fifth as many large ones")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), metavar="NAME")
    parser.add_argument("--more", action="store_true", help="go on with the rounds in --json's FILE")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sides, arguments.num, arguments.rounds = ["one process", "pool"], min(arguments.num, 30), 1
    before: Row = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.more else {"turns": []}
    assert before.get("commit", commit()) == commit(), "what is in FILE was measured at another commit"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = draw(arguments.ecssd, folder, arguments.num)
        assert before.get("pictures", pictures) == pictures, "what is in FILE was measured with other pictures"
        turns = [{side: asdict(turn(folder, side)) for side in arguments.sides} for _ in range(arguments.rounds)]
        parts_of = {} if arguments.quick else besides(folder)
        found = {name: before.get(name) or measure() for name, measure in parts_of.items()}
    turns = before["turns"] + turns
    packages = versions("u2net", "openvino", "onnxruntime", "pillow", "ray")
    result: Row = {
        "cores": os.cpu_count(),
        "versions": packages,
        "pictures": pictures,
        "turns": turns,
        "sides": [row(side, turns, pictures) for side in SIDES if any(side in one for one in turns)],
        **found,
    }
    result |= paper(result) if turns and found else {}
    publish(arguments, result, to_markdown(result), f"{named(packages)}; medians of rounds in turns [least–most]")


# ---- What is measured ------------------------------------------------------------------------------------------


def draw(ecssd: str, folder: Path, num: int) -> Row:
    """Two folders of small pictures and two of large ones, few and all, from a data set; how many are in each."""
    examples = [example.image for example in open_dataset(ecssd).examples[:num] if example.image]
    photographs = (load_image(image.read()).rgb for image in examples)
    small, large = [], []
    for i, photograph in enumerate(photographs):
        small.append(folder / f"small-{i:04}.jpg")
        photograph.save(small[-1], quality=QUALITY)
        if i < NUM_LARGE:
            large.append(folder / f"large-{i:04}.jpg")
            scale = (MEGAPIXELS / (photograph.width * photograph.height)) ** 0.5
            size = round(photograph.width * scale), round(photograph.height * scale)
            enlarge(photograph, size).save(large[-1], quality=QUALITY)
    for kind, paths, many in ((SMALL, small, len(small)), (LARGE, large, max(NUM_LARGE, num // 5))):
        for part, size in (("few", many // FEW), ("all", many)):
            place = folder / kind / part
            place.mkdir(parents=True)
            for i in range(size):
                (place / f"{i:05}.jpg").hardlink_to(paths[i % len(paths)])
    return {kind: {part: count(folder, kind, part) for part in ("few", "all")} for kind in (SMALL, LARGE)}


def besides(folder: Path) -> dict[str, Callable[[], Row]]:
    """What is measured once; sizes are those of the files of the last turns."""
    kinds = (SMALL, LARGE)
    return {
        "bytes": lambda: {kind: sizes(folder, kind) for kind in kinds if (folder / kind / "out").exists()},
        "steps": lambda: {kind: steps(folder, kind) for kind in kinds},
        "pool": lambda: parts("pool", folder / "handed", 5_000),
        "ray": lambda: passed_by_ray(folder / "passed"),
        "journal": lambda: {str(num): parts("journal", folder / f"of-{num}", num) for num in (100_000, 1_000_000)},
        "known": lambda: parts("known", folder / "known", 50_000),
    }


def turn(folder: Path, side: str) -> Turn:
    """A run over few pictures and one over all; what the last one made is left in `out`."""
    kind, options = SIDES[side]
    taken = []
    for part in ("few", "all"):
        output = folder / kind / "out"
        shutil.rmtree(output, ignore_errors=True)
        taken.append(remove(folder / kind / part, output, *options))
        times = sorted(path.stat().st_mtime_ns for path in output.glob("*.png"))
        assert len(times) == count(folder, kind, part)
    timed = times[len(times) // FEW :]
    return Turn(*taken, per_s=1e9 * (len(timed) - 1) / (timed[-1] - timed[0]))


def remove(source: Path, output: Path, *options: str) -> Taken:
    """A run of the command, with nothing said by the environment."""
    said = ("OMP_NUM_THREADS", "RAY_ADDRESS")
    environment = {name: value for name, value in os.environ.items() if name not in said}
    return run_watched(
        [sys.executable, "-m", "u2net", "remove", str(source), str(output), "-m", "u2netp", *options], environment
    )


def passed_by_ray(folder: Path) -> Row:
    """Seconds that Ray takes for a picture whose file is there already: those of the clock, and of all processes."""
    taken = []
    for num in RAY_PASSES:
        source, output = folder / f"{num}/in", folder / f"{num}/out"
        for place, suffix in ((source, "jpg"), (output, "png")):
            place.mkdir(parents=True)
            for i in range(num):
                (place / f"{i:06}.{suffix}").touch()
        taken.append(remove(source, output, "--engine", "ray"))
    few, many = taken
    more = RAY_PASSES[1] - RAY_PASSES[0]
    return {"seconds_a_picture": (many.wall_s - few.wall_s) / more, "cpu_s": (many.cpu_s - few.cpu_s) / more}


def count(folder: Path, kind: str, part: str) -> int:
    """Pictures of a folder."""
    return len(list((folder / kind / part).iterdir()))


def row(side: str, all_turns: list[Row], pictures: Row) -> Row:
    """What a side took in every round, each figure as its median, least and most."""
    kind, _ = SIDES[side]
    num, more = pictures[kind]["all"], pictures[kind]["all"] - pictures[kind]["few"]
    cores = os.cpu_count() or 1
    rounds = [one for one in all_turns if side in one]
    turns = [one[side] for one in rounds]
    seconds = [(turn["all"]["cpu_s"] - turn["few"]["cpu_s"]) / more for turn in turns]
    of_workers = [(turn["all"]["worker_cpu_s"] - turn["few"]["worker_cpu_s"]) / more for turn in turns]
    found: Row = {
        "side": side,
        "rounds": len(turns),
        "pictures": num,
        "start_s": spread([turn["all"]["wall_s"] - num / turn["per_s"] for turn in turns]),
        "per_s": spread([turn["per_s"] for turn in turns]),
        "cpu_s": spread(seconds),
        "own_cpu_s": spread([every - own for every, own in zip(seconds, of_workers, strict=True)]),
        "core_usage": spread([s * turn["per_s"] / cores for s, turn in zip(seconds, turns, strict=True)]),
        "core_usage_with_start": spread([turn["all"]["cpu_s"] / turn["all"]["wall_s"] / cores for turn in turns]),
        "with_start_per_s": spread([num / turn["all"]["wall_s"] for turn in turns]),
        "worker_mib": spread([turn["all"]["worker_mib"] for turn in turns]),
    }
    for base in ("one process, one thread", "one process", "pool"):
        if kind == SMALL and side != base:
            ratios = [one[side]["per_s"] / one[base]["per_s"] for one in rounds if base in one]
            found |= {f"to {base}": spread(ratios)} if ratios else {}
    return found


def spread(values: list[float]) -> list[float]:
    """Median, least and most."""
    return [round(value, 5) for value in (median(values), min(values), max(values))]


def sizes(folder: Path, kind: str) -> Row:
    """Bytes of a picture and of its cut-out, in the mean."""
    return {
        "in": round(mean_size(list((folder / kind / "all").glob("*.jpg")))),
        "out": round(mean_size(list((folder / kind / "out").glob("*.png")))),
    }


def mean_size(paths: list[Path]) -> float:
    """Bytes of a file."""
    return sum(path.stat().st_size for path in paths) / len(paths)


def steps(folder: Path, kind: str) -> Row:
    """Milliseconds of one thread for each step of a picture."""
    paths = sorted((folder / kind / "all").glob("*.jpg"))[: 40 if kind == SMALL else NUM_LARGE]
    return {name: round(1000 * seconds, 3) for name, seconds in parts("steps", *paths).items()}


def parts(*what: object) -> Row:
    """Figures of `scale_parts.py`, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("scale_parts.py")), *map(str, what)]
    found: Row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


# ---- What follows ----------------------------------------------------------------------------------------------


def paper(result: Row) -> Row:
    """Many pictures on paper: seconds of a core are the pool's."""
    sides = {row["side"]: row for row in result["sides"]}
    seconds = {kind: sides[side]["cpu_s"][0] for kind, side in ((SMALL, "pool"), (LARGE, "pool, 12 MP"))}
    journal = result["journal"]["1000000"]
    kinds = {kind: (seconds[kind], *result["bytes"][kind].values()) for kind in seconds}
    return {
        "costs": [one for kind, of in kinds.items() for one in costs(kind, *of, journal["bytes_a_picture"])],
        "limits": [limits(kind, *of) for kind, of in kinds.items()],
        "shards": shards(result["known"]["seconds_a_picture"], journal),
        "heads": heads(result["pool"]["seconds_a_picture"], result["ray"]["seconds_a_picture"], seconds),
    }


if __name__ == "__main__":
    main()
