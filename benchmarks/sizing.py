"""What a service needs: requests a second and a core, and memory, by the number of its worker processes.

    python benchmarks/sizing.py [--model NAME] [--workers 1 2] [--num 200] [--concurrency 16] [--quick] [--json FILE]

Starts the service with each number of workers, and loads it with pictures of one size after the other. Workers share
nothing, so that what one needs holds for any number. Memory is the peak of the largest worker.
"""

import os
from typing import Any

from bench import new_parser, publish, table
from services import SIZES, form, load, ours, photograph


def main() -> None:
    """Load each, print the table, write if asked."""
    parser = new_parser(__doc__, "24 requests to one worker")
    parser.add_argument("--model", default="u2netp", metavar="NAME")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--num", type=int, default=200, help="requests of the smallest size; the largest has a quarter")
    parser.add_argument("--concurrency", type=int, default=16)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.workers, arguments.num, arguments.concurrency = [1], 24, 4
    load_of = (arguments.num, arguments.concurrency)
    rows = [row for num in arguments.workers for row in measure(arguments.model, num, *load_of)]
    head = ["workers", "JPEG in, PNG out", "requests a second", "of a core", "median, s", "99 %, s", "MiB a worker"]
    digits = {"per_s": 1, "per_core_s": 1, "p50_s": 2, "p99_s": 2, "worker_mib": 0}
    cells = ([row["workers"], row["pictures"], *(f"{row[k]:.{n}f}" for k, n in digits.items())] for row in rows)
    facts = {"model": arguments.model, "cores": os.cpu_count(), "clients": arguments.concurrency, "rows": rows}
    about = f"{arguments.model}; {arguments.concurrency} clients on it too"
    publish(arguments, facts, table(head, cells, num_text=2), about)


def measure(model: str, num_workers: int, num: int, concurrency: int) -> list[dict[str, Any]]:
    """A row for each size of pictures."""
    rows = []
    with ours("--workers", str(num_workers), model=model) as server:
        for (name, size), share in zip(SIZES.items(), (1, 2, 4), strict=True):
            asked = form(photograph(size), model=model)
            load(server, *asked, concurrency, concurrency)  # warms up
            found = load(server, *asked, num // share, concurrency)
            rows.append(
                {
                    "workers": num_workers,
                    "pictures": name,
                    "per_s": found.per_s,
                    "p50_s": found.p50_s,
                    "p99_s": found.p99_s,
                    "per_core_s": 1 / found.cpu_s,
                    "worker_mib": server.largest_mib("VmHWM"),
                }
            )
    return rows


if __name__ == "__main__":
    main()
