"""What a service needs: requests a second and a core, and memory, by the number of its worker processes.

    python benchmarks/sizing.py [--workers 1 2] [--num 200] [--concurrency 16] [--json FILE]

Each number of workers is started anew and loaded with pictures of one size after the other. Workers share nothing, so
that what one needs holds for any number; memory is the largest worker's at its most, loaded with the largest pictures.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from machine import commit, cpu
from services import SIZES, form, load, ours, photograph


def main() -> None:
    """Load each, print the table, write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--num", type=int, default=200, help="requests of the smallest size; the largest has a quarter")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, and as Markdown beside it")
    arguments = parser.parse_args()
    rows = [row for num in arguments.workers for row in measure(num, arguments.num, arguments.concurrency)]
    result = {
        "command": "python benchmarks/sizing.py",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "commit": commit(),
        "clients": arguments.concurrency,
        "rows": rows,
    }
    text = to_markdown(result)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        arguments.json.with_suffix(".md").write_text(text, encoding="utf-8")


def measure(num_workers: int, num: int, concurrency: int) -> list[dict[str, Any]]:
    """A row for each size of pictures."""
    rows = []
    with ours("--workers", str(num_workers)) as server:
        for (name, size), share in zip(SIZES.items(), (1, 2, 4), strict=True):
            asked = form(photograph(size))
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


def to_markdown(result: dict[str, Any]) -> str:
    """The table, and where it comes from."""
    lines = [
        f"`{result['command']}` at {result['commit']}; {result['cpu']}; {result['clients']} clients on it too.",
        "",
        "| workers | JPEG in, PNG out | requests a second | of a core | median, s | 99 %, s | MiB a worker |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['workers']} | {row['pictures']} | {row['per_s']:.1f} | {row['per_core_s']:.1f} |"
        f" {row['p50_s']:.2f} | {row['p99_s']:.2f} | {row['worker_mib']:.0f} |"
        for row in result["rows"]
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
