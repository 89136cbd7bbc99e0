"""What measuring adds to inference: `u2net.evaluate` against the network alone on the same pictures.

    python benchmarks/evaluate.py DATA [--num 100] [--rounds 5] [--json FILE]

DATA is a folder or tar of pictures and masks. Both sides decode the pictures and run `u2netp`; the one also
measures, in a thread beside it. Also prints how much the process grew over the pictures.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from u2net import evaluate, new_session
from u2net.evaluation.dataset import open_dataset


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def resident_mib() -> float:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    """Interleave both sides and print the ratio with its spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    whole = open_dataset(arguments.data)
    dataset = replace(whole, examples=whole.examples[: arguments.num])
    session = new_session("u2netp")

    def infer() -> None:
        for example in dataset:
            session.mask(example.image.read())

    def measure() -> None:
        evaluate(dataset, session)

    infer()
    measure()
    before = resident_mib()
    rounds = [(seconds(infer), seconds(measure)) for _ in range(arguments.rounds)]
    growth = resident_mib() - before
    ratios = [ours / alone for alone, ours in rounds]
    row = {
        "name": "evaluate against the network alone",
        "unit": "s per picture",
        "ours": statistics.median(ours for _, ours in rounds) / len(dataset),
        "theirs": statistics.median(alone for alone, _ in rounds) / len(dataset),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "rounds": arguments.rounds,
    }
    print(f"network alone {row['theirs']:.3f} s, with measuring {row['ours']:.3f} s a picture; ", end="")
    print(f"ratio {row['ratio']:.2f} [{row['ratio_min']:.2f}–{row['ratio_max']:.2f}] over {len(dataset)} pictures")
    print(f"memory grew by {growth:.0f} MiB over {2 * arguments.rounds * len(dataset)} pictures")
    if arguments.json:
        arguments.json.write_text(json.dumps([row], indent=1) + "\n")


if __name__ == "__main__":
    main()
