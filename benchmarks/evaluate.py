"""What measuring adds to inference: `u2net.evaluate` against the network alone on the same pictures.

    python benchmarks/evaluate.py DATA [--num 100] [--rounds 5] [--quick] [--json FILE]

DATA is a folder or tar of pictures and masks. Both sides decode the pictures and run `u2netp`; one also measures, in a
second thread. Also prints how much the process grew.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from bench import in_turns, new_parser, publish, ratio_row, ratio_table
from sides import memory_mib

from u2net import evaluate, new_session
from u2net.evaluation.dataset import open_dataset


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Interleave both sides and print the ratio with its spread."""
    parser = new_parser(__doc__, "10 pictures, 3 rounds")
    parser.add_argument("data")
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.num, arguments.rounds = 10, 3
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
    before = memory_mib("VmRSS")
    rounds = in_turns([lambda: seconds(infer), lambda: seconds(measure)], arguments.rounds)
    growth = memory_mib("VmRSS") - before
    alone, measured = ([taken / len(dataset) for taken in side] for side in zip(*rounds, strict=True))
    row = ratio_row("evaluate against the network alone", "s per picture", measured, alone, rate=True, digits=4)
    num = (arguments.rounds + 1) * 2 * len(dataset)
    about = f"memory grew by {growth:.0f} MiB over {num} pictures"
    publish(
        arguments, {"rows": [row], "grown_mib": growth}, ratio_table([row], "with measuring", "network alone"), about
    )


if __name__ == "__main__":
    main()
