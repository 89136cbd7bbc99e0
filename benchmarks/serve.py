"""Both HTTP services beside each other: `u2net serve` and `rembg s`, with the same model, on the same pictures.

    python benchmarks/serve.py [--rounds 5] [--num 48] [--concurrency 16] [--pictures FOLDER] [--quick]
                               [--peer PYTHON] [--json FILE]

Loads them in turns, each picture size with so many requests from so many clients. Ours has a worker for each core, and
is asked with its defaults, which refine outlines, and with `quality=coarse`, which like rembg gives the mask as it is.
Prints requests a second, the median and 99th percentile of their time, what a request costs of the processor, and
memory, that of all processes together. With FOLDER, whose sub-folders hold odd and broken pictures, both are asked for
each of them. With --json the rows are written to FILE, and as Markdown beside it.
"""

import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench import named, new_parser, publish, ratio_row, ratio_table, table, versions
from services import SIZES, Round, Server, form, load, ours, photograph, theirs
from sides import install_peer

VERSION = "2.0.86"


def main() -> None:
    """Print the tables."""
    parser = new_parser(__doc__, "12 requests from 4 clients, 3 rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num", type=int, default=48)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--peer", help="interpreter with rembg[cpu,cli]; by default one is installed under .peers")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.num, arguments.concurrency = 3, 12, 4
    peer = arguments.peer or install_peer("rembg", VERSION, "[cpu,cli]")

    rows, figures = [], {}
    workers = ("--workers", str(os.cpu_count() or 1))
    with tempfile.TemporaryDirectory() as home, ours(*workers) as us, theirs(peer, Path(home)) as them:
        for server in (us, them):
            figures[f"{server.name}: MiB after the first picture"] = round(first_picture(server))
        for name, size in SIZES.items():
            picture = photograph(size)
            sides = ((us, form(picture)), (us, form(picture, quality="coarse")), (them, form(picture)))
            rounds = [
                [load(server, *asked, arguments.num, arguments.concurrency) for server, asked in sides]
                for _ in range(arguments.rounds)
            ]
            refined, coarse, rembg = map(list, zip(*rounds, strict=True))
            rows += compare(name, refined, rembg) + compare(f"{name}, coarse", coarse, rembg)
        for server in (us, them):
            figures[f"{server.name}: MiB at most, under load"] = round(server.mib("VmHWM"))
        if arguments.pictures:
            for server in (us, them):
                figures |= odd_pictures(server, arguments.pictures)
    packages = versions("u2net", "onnxruntime", "pillow", "uvicorn") | {"rembg": VERSION}
    about = (
        f"`u2net serve {' '.join(workers)}` and `rembg s`, with u2netp; {arguments.concurrency} clients, "
        f"{arguments.num} requests a round; {named(packages)}"
    )
    facts = {"versions": packages, "clients": arguments.concurrency, "requests in a round": arguments.num}
    facts |= {"rows": rows, "figures": figures}
    text = ratio_table(rows, "u2net", "rembg") + "\n" + table(["", ""], figures.items())
    publish(arguments, facts, text, about)


# ---- What is asked ---------------------------------------------------------------------------------------------


def first_picture(server: Server) -> float:
    """MiB once a picture was answered; fails if it was not."""
    status, content = server.ask(*form(photograph((600, 400))))
    assert status == 200, f"{server.name} answered {status}: {content[:200]!r}"
    return server.mib("VmRSS")


def odd_pictures(server: Server, folder: Path) -> dict[str, object]:
    """How many answers of each kind, the slowest, and the peak of memory over what it was before."""
    before = server.mib("VmRSS")
    server.forget_peak()
    statuses: Counter[str] = Counter()
    slowest = 0.0
    for path in sorted(path for path in folder.glob("*/*") if path.is_file()):
        start = time.perf_counter()
        status, _ = server.ask(*form(path.read_bytes()))
        slowest = max(slowest, time.perf_counter() - start)
        statuses[str(status or "no answer")] += 1
    return {
        f"{server.name}: answers to {sum(statuses.values())} odd pictures": dict(sorted(statuses.items())),
        f"{server.name}: slowest of them, s": round(slowest, 1),
        f"{server.name}: MiB over what it had, at most": round(server.mib("VmHWM") - before),
    }


# ---- What came of it -------------------------------------------------------------------------------------------


def compare(name: str, ours: list[Round], theirs: list[Round]) -> list[dict[str, object]]:
    """Rows for a size of pictures. A ratio is ours to theirs for rates, theirs to ours for times: more is better."""
    kinds = {
        "requests a second": ("1/s", "per_s"),
        "median time": ("s", "p50_s"),
        "99th percentile": ("s", "p99_s"),
        "processor time of a request": ("s", "cpu_s"),
    }
    return [
        ratio_row(
            f"{name}, {what}",
            unit,
            *([getattr(one, field) for one in side] for side in (ours, theirs)),
            rate=unit == "1/s",
        )
        for what, (unit, field) in kinds.items()
    ]


if __name__ == "__main__":
    main()
