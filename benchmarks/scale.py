"""Folders at scale: what a picture costs, by processes, threads and engines, and what a million of them would.

    python benchmarks/scale.py ECSSD [--rounds 5] [--num 240] [--json FILE]

ECSSD is a data set's folder or tar. Its first --num pictures are saved as JPEG files of their own size, and a dozen of
them at 12 megapixels, with fine detail. `u2net remove` then cuts out a folder with a few of them and one with all, in
turns: by a process of one thread, by one with its default threads, by the default pool, and by Ray on this machine
alone; the large ones by the pool. What the larger folder takes more, for a picture that it has more, is what a
picture costs; what is left of the smaller one's time is the start. Seconds of the processor are those of all processes.
Then the parts are measured alone (benchmarks/scale_parts.py), and a million and a billion pictures are told on paper
(benchmarks/scale_model.py). With --json, results are written to FILE, and as Markdown beside it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from machine import commit, cpu
from photographs import enlarge
from processes import Taken, run
from scale_model import CORES, costs, heads, limits, shards

from u2net.dataset import open_dataset
from u2net.image import load_image

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
NUM_LARGE = 12  # that are drawn; a folder has each several times
RAY_PASSES = (4_000, 16_000)  # pictures of two folders
Row = dict[str, Any]


def main() -> None:
    """Draw, take turns, take parts, reckon, print, write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ecssd", help="a folder or tar of pictures and masks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num", type=int, default=240, help="small pictures of a folder; a fifth as many large ones")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, and as Markdown beside it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(arguments.ecssd, folder, arguments.num)
        rounds = [{side: both(folder, side) for side in SIDES} for _ in range(arguments.rounds)]
        sides = [row(side, [one[side] for one in rounds], rounds, folder) for side in SIDES]
        result: Row = {
            "command": "python benchmarks/scale.py ECSSD",
            "cpu": cpu(),
            "cores": os.cpu_count(),
            "commit": commit(),
            "versions": {name: version(name) for name in ("u2net", "openvino", "onnxruntime", "pillow", "ray")},
            "rounds": arguments.rounds,
            "sides": sides,
            "bytes": {kind: sizes(folder, kind) for kind in (SMALL, LARGE)},
            "steps": {kind: steps(folder, kind) for kind in (SMALL, LARGE)},
            "pool": parts("pool", folder / "handed", 5_000),
            "ray": passed_by_ray(folder / "passed"),
            "journal": {str(num): parts("journal", folder / f"journal-{num}", num) for num in (100_000, 1_000_000)},
            "known": parts("known", folder / "known", 50_000),
        }
    result |= paper(result)
    text = to_markdown(result)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        arguments.json.with_suffix(".md").write_text(text, encoding="utf-8")


# ---- What is measured ------------------------------------------------------------------------------------------


def draw(ecssd: str, folder: Path, num: int) -> None:
    """Two folders of small pictures and two of large ones, few and all, from a data set."""
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
        for part, count in (("few", many // 3), ("all", many)):
            place = folder / kind / part
            place.mkdir(parents=True)
            for i in range(count):
                (place / f"{i:05}.jpg").hardlink_to(paths[i % len(paths)])


def both(folder: Path, side: str) -> tuple[Taken, Taken]:
    """A run over few pictures and one over all; what the last one made is left in `out`."""
    kind, options = SIDES[side]
    taken = []
    for part in ("few", "all"):
        output = folder / kind / "out"
        shutil.rmtree(output, ignore_errors=True)
        taken.append(remove(folder / kind / part, output, *options))
        assert len(list(output.glob("*.png"))) == count(folder, kind, part)
    return taken[0], taken[1]


def remove(source: Path, output: Path, *options: str) -> Taken:
    """A run of the command, with nothing said by the environment."""
    said = ("OMP_NUM_THREADS", "RAY_ADDRESS")
    environment = {name: value for name, value in os.environ.items() if name not in said}
    return run([sys.executable, "-m", "u2net", "remove", str(source), str(output), *options], environment)


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


def row(side: str, runs: list[tuple[Taken, Taken]], rounds: list[dict[str, Any]], folder: Path) -> Row:
    """What a side took in every round, each figure as its median, least and most."""
    kind, _ = SIDES[side]
    few = count(folder, kind, "few")
    more = count(folder, kind, "all") - few
    cores = os.cpu_count() or 1
    walls = [(b.wall_s - a.wall_s) / more for a, b in runs]
    seconds = [(b.cpu_s - a.cpu_s) / more for a, b in runs]
    found: Row = {
        "side": side,
        "pictures": few + more,
        "start_s": spread([a.wall_s - few * wall for (a, _), wall in zip(runs, walls, strict=True)]),
        "per_s": spread([1 / wall for wall in walls]),
        "cpu_s": spread(seconds),
        "own_cpu_s": spread(
            [s - (b.worker_cpu_s - a.worker_cpu_s) / more for s, (a, b) in zip(seconds, runs, strict=True)]
        ),
        "core_usage": spread([s / wall / cores for s, wall in zip(seconds, walls, strict=True)]),
        "core_usage_with_start": spread([b.cpu_s / b.wall_s / cores for _, b in runs]),
        "with_start_per_s": spread([(few + more) / b.wall_s for _, b in runs]),
        "worker_mib": spread([b.worker_mib for _, b in runs]),
    }
    for base in ("one process, one thread", "one process", "pool"):
        if kind == SMALL and side != base:
            others = [(b.wall_s - a.wall_s) / more for a, b in (one[base] for one in rounds)]
            found[f"to {base}"] = spread([other / wall for other, wall in zip(others, walls, strict=True)])
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


# ---- What is told ----------------------------------------------------------------------------------------------


def to_markdown(result: Row) -> str:
    """All tables, and where they come from."""
    versions = ", ".join(" ".join(item) for item in result["versions"].items())
    small, large = (result["bytes"][kind] for kind in (SMALL, LARGE))
    columns = {
        "side": "",
        "pictures": "pictures",
        "start_s": "start, s",
        "per_s": "pictures per second",
        "cpu_s": "core-seconds of a picture",
        "core_usage": "cores in use",
        "core_usage_with_start": "with the start",
        "own_cpu_s": "of these besides the workers",
        "worker_mib": "MiB of a worker, at most",
        "to one process, one thread": "times one process of one thread",
        "to one process": "times one process",
        "to pool": "times the pool",
    }
    every = dict.fromkeys(columns, "")
    lines = [
        f"`{result['command']}` at {result['commit']}; {result['cpu']}; {versions}.",
        f"Medians of {result['rounds']} rounds in turns [least–most].",
        "",
        *table([{columns[k]: of(k, v) for k, v in (every | row).items() if k in columns} for row in result["sides"]]),
        "",
        f"A picture of {SMALL} has {small['in']:,} bytes, its cut-out {small['out']:,}; "
        f"one of {LARGE} has {large['in']:,}, its cut-out {large['out']:,}.",
        "",
        *table([{"ms of one thread": kind, **result["steps"][kind]} for kind in result["steps"]]),
        "",
        *table(
            [{"of the folder": name, "µs of a picture": microseconds} for name, microseconds in folder_costs(result)]
        ),
        "",
        f"On paper, with the pool's core-seconds, and machines of {CORES} such cores:",
        "",
        *(line for name in ("costs", "limits", "heads", "shards") for line in (*table(result[name]), "")),
    ]
    return "\n".join(lines)


def folder_costs(result: Row) -> list[tuple[str, float]]:
    """Microseconds of a picture that its folder costs besides it."""
    found = [
        ("handed out by the pool, journal and all", result["pool"]["seconds_a_picture"]),
        ("passed by Ray, its file being there", result["ray"]["seconds_a_picture"]),
        ("passed by the pool, being done", result["known"]["seconds_a_picture"]),
    ]
    for num, row in result["journal"].items():
        found += [
            (f"journal of {int(num):,}, {verb}", row[f"seconds_to_{verb}_a_picture"]) for verb in ("write", "read")
        ]
    return [(name, 1e6 * seconds) for name, seconds in found]


def of(key: str, value: Any) -> Any:
    """A cell: a figure with its spread, or what it is."""
    if not isinstance(value, list):
        return value
    if key.startswith("core_usage"):
        return "{:.0%} [{:.0%}–{:.0%}]".format(*value)
    return "{} [{}–{}]".format(*map(short, value))


def short(value: Any) -> str:
    """A number to three digits, in whole where it has more."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: list[Row]) -> list[str]:
    """Markdown; the first column is text."""
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", "|" + "---|" + "---:|" * (len(head) - 1)]
    return lines + [f"| {' | '.join(short(row[name]) for name in head)} |" for row in rows]


if __name__ == "__main__":
    main()
