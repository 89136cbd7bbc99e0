"""Each runtime at each precision: time of one picture beside ONNX Runtime's in float32, and accuracy on a data set.

    python benchmarks/runtimes.py [--data ECSSD] [--every N] [--threads N] [--rounds N] [--quick] [--json FILE]

Times are those of the processor for one thread, so that other work on the machine does not count; with more threads
they are the clock's, and the machine should have nothing else to do. The ways take turns.
U²-Net† is the packaged `u2netp`; the full network is `u2net`, which is downloaded where it is not at hand. The floor is
the network's multiplications at the rate of a wide convolution in torch. Memory is the most that a process holds which
opens a model and looks at one picture. Accuracy is that of every N-th picture of the data set (all of them by default),
its mean over the data set. With --json, results are written to FILE, and as Markdown beside it.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from bench import every, named, new_parser, publish, spread, table, versions, with_spread

from u2net import Session
from u2net.errors import InvalidModel, MissingExtra
from u2net.evaluation.dataset import open_dataset
from u2net.evaluation.evaluate import evaluate
from u2net.evaluation.metrics import MAE, FMeasure
from u2net.inference.open import new_session
from u2net.inference.profile import WAYS, measure
from u2net.inference.runtimes import RUNTIMES
from u2net.models.zoo import resolve

SIZE = (320, 320)
NETWORKS = {"U²-Net†": "u2netp", "U²-Net": "u2net"}
PACKAGES = ("u2net", *RUNTIMES, "torch")
Ways = dict[tuple[str, str], Session]


def main() -> None:
    """Open, take turns, score, print, write if asked."""
    parser = new_parser(__doc__, "U²-Net† alone, 5 rounds, at most 40 pictures")
    parser.add_argument("--data", type=Path, help="data set to score on  [default: none]")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="score every N-th picture alone")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each runtime")
    parser.add_argument("--rounds", type=int, default=9, help="turns that each way takes")
    arguments = parser.parse_args()
    arguments.rounds = min(arguments.rounds, 5) if arguments.quick else arguments.rounds
    torch.set_num_threads(1)
    rates = {name: macs_per_second(kind) for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    rows = []
    for network, model in NETWORKS.items():
        if arguments.quick and network == "U²-Net":
            continue
        path = resolve(model)
        macs = measure(path, SIZE).num_macs
        floors = {p: 1000 * macs / rate / arguments.threads for p, rate in rates.items()}
        clock = process_time if arguments.threads == 1 else perf_counter
        found = time_all(open_all(path, arguments.threads), floors, arguments.rounds, clock)
        for row in found:
            row["MiB"] = round(peak_mib(model, row["runtime"], row["precision"], arguments.threads))
            if arguments.data:
                whole = open_dataset(arguments.data)
                data = replace(whole, examples=every(whole.examples, arguments.every, quick=arguments.quick))
                with new_session(path, runtime=row["runtime"], precision=row["precision"]) as session:
                    scores = evaluate(data, session, measures=[FMeasure, MAE]).scores
                row |= {"maxF": round(scores["maxF"], 4), "MAE": round(scores["MAE"], 4), "pictures": len(data)}
        rows += [{"network": network, **row} for row in found]
    packages, num = versions(*PACKAGES), arguments.threads
    times = "one thread, its own time" if num == 1 else f"{num} threads, by the clock"
    facts = {"threads": num, "versions": packages, "rows": rows}
    publish(arguments, facts, to_markdown(rows), f"{times}; {named(packages)}")


def open_all(path: Path, threads: int) -> Ways:
    """A session of each way that can be had here."""
    ways = {}
    for runtime, precision in WAYS:
        try:
            ways[runtime, precision] = new_session(path, runtime=runtime, precision=precision, threads=threads)
        except (MissingExtra, ValueError, InvalidModel) as error:
            print(f"without {runtime} {precision}: {error}")
    return ways


def time_all(ways: Ways, floors: dict[str, float], rounds: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """Milliseconds of each way, its ratio to the first of them by round, and to the floor of its precision."""
    picture = np.random.default_rng(0).standard_normal((1, 3, 320, 320), np.float32)
    times: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, session in ways.items():
            start = clock()
            session.backend(picture)
            if turn:
                times[way].append(1000 * (clock() - start))
    base = next(iter(times.values()))
    rows = []
    for (runtime, precision), taken in times.items():
        ratios = [a / b for a, b in zip(taken, base, strict=True)]
        floor = floors.get(precision)
        rows.append(
            {
                "runtime": runtime,
                "precision": precision,
                "ms": round(median(taken), 1),
                **spread(ratios, 3),
                "floor": round(median(taken) / floor, 2) if floor else None,
                "rounds": rounds,
            }
        )
    return rows


def peak_mib(model: str, runtime: str, precision: str, threads: int) -> float:
    """The most memory of a process that opens a model in this way and looks at one picture.

    The model has been opened so before, and what is kept of that (integers, compiled networks) is at hand.
    """
    code = (
        "import sys, numpy as np; from sides import memory_mib; from u2net import new_session\n"
        "model, runtime, precision, threads = sys.argv[1:]\n"
        "new_session(model, runtime=runtime, precision=precision, threads=int(threads))"
        ".mask(np.zeros((400, 600, 3), np.uint8))\n"
        "print(memory_mib('VmHWM'))"
    )
    asked = [sys.executable, "-c", code, model, runtime, precision, str(threads)]
    answer = subprocess.run(asked, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True, check=True)
    return float(answer.stdout)


def macs_per_second(kind: torch.dtype, channels: int = 256, side: int = 64) -> float:
    """The best rate of a wide 3×3 convolution in torch here; faster than its matrix product in float32 on AMD."""
    layout = torch.channels_last
    convolution = torch.nn.Conv2d(channels, channels, 3, padding=1).to(kind).to(memory_format=layout)
    picture = torch.randn(1, channels, side, side).to(kind).to(memory_format=layout)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(12):
            start = process_time()
            convolution(picture)
            best = min(best, process_time() - start)
    return 9 * channels**2 * side**2 / best


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    numbers = ["ms", "ratio to the first", "times the floor", "MiB", "maxF", "MAE"]
    cells = (
        [
            *(row[key] for key in ("network", "runtime", "precision", "ms")),
            with_spread(row),
            row["floor"] or "",
            row["MiB"],
            *(f"{row[key]:.4f}" if key in row else "" for key in ("maxF", "MAE")),
        ]
        for row in rows
    )
    return table(["network", "runtime", "precision", *numbers], cells, num_text=3)


if __name__ == "__main__":
    main()
