"""What every benchmark shares: options, rounds in turns, ratios with their spread, machine facts, files of results."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

Row = dict[str, Any]
T = TypeVar("T")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # both sides' modules are compiled once, as pip leaves them

# ---- Run -------------------------------------------------------------------------------------------------------


def new_parser(doc: str | None, quick: str) -> argparse.ArgumentParser:
    """A parser with `--quick`, which ends within three minutes on two cores by doing `quick`, and `--json`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"end within three minutes: {quick}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, and as Markdown beside it")
    return parser


def in_turns(sides: Sequence[Callable[[], T]], num_rounds: int) -> list[list[T]]:
    """What the sides return in each round, A B A B …, after one round to warm up."""
    return [[side() for side in sides] for _ in range(num_rounds + 1)][1:]


def every(examples: Sequence[Any], step: int, *, quick: bool, most: int = 40) -> list[Any]:
    """Every `step`-th example; with `quick` at most `most` of them, evenly taken."""
    chosen = list(examples[::step])
    return chosen[:: -(-len(chosen) // most)] if quick else chosen


# ---- Rows ------------------------------------------------------------------------------------------------------


def spread(ratios: Sequence[float], digits: int = 2) -> Row:
    """Median, least and largest ratio of the rounds."""
    found = {"ratio": median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
    return {key: round(value, digits) for key, value in found.items()}


def ratio_row(
    name: str, unit: str, ours: Sequence[float], theirs: Sequence[float], *, rate: bool = False, digits: int = 3
) -> Row:
    """Medians of both sides by round, and how many times better ours is, in times or, if `rate`, in rates."""
    ratios = [a / b if rate else b / a for a, b in zip(ours, theirs, strict=True)]
    medians = {"ours": round(median(ours), digits), "theirs": round(median(theirs), digits)}
    return {"name": name, "unit": unit} | medians | spread(ratios) | {"rounds": len(ratios)}


def with_spread(row: Row) -> str:
    """1.03 [1.01–1.08]."""
    return f"{row['ratio']:.2f} [{row['ratio_min']:.2f}–{row['ratio_max']:.2f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], num_text: int = 1) -> str:
    """Markdown; the first columns are text, the others numbers."""
    align = ["---"] * num_text + ["---:"] * (len(head) - num_text)
    lines = [head, align, *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def ratio_table(rows: Iterable[Row], ours: str, theirs: str) -> str:
    """The rows of `ratio_row` as Markdown."""
    cells = ([f"{r['name']}, {r['unit']}", r["ours"], r["theirs"], with_spread(r), r["rounds"]] for r in rows)
    return table(["", ours, theirs, "ratio", "rounds"], cells)


# ---- Record ----------------------------------------------------------------------------------------------------


def publish(arguments: argparse.Namespace, facts: Row, body: str, about: str = "") -> None:
    """Print a result, and write it as JSON and Markdown if `--json` names a file.

    Both begin with the command, the commit and the machine; `about` is what else there is to know in one line.
    """
    result = {"command": command(), "cpu": cpu(), "commit": commit()} | facts
    text = f"`{result['command']}` at {result['commit']}; {result['cpu']}{'; ' if about else ''}{about}.\n\n{body}"
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        arguments.json.with_suffix(".md").write_text(text, encoding="utf-8")


def command() -> str:
    """What was asked for, without where files lie."""
    script, *given = sys.argv
    kept = []
    given_to = iter(given)
    for argument in given_to:
        if argument in ("--json", "--peer"):
            next(given_to, None)
        else:
            kept.append(Path(argument).name)
    path = Path(script).resolve()
    return " ".join([f"python {path.parent.name}/{path.name}", *kept])


def cpu() -> str:
    """The processor's name, and how many of its cores there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def commit() -> str:
    """Of this checkout."""
    asked = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout.strip()


def versions(*packages: str) -> dict[str, str]:
    """Of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def named(packages: dict[str, str]) -> str:
    """Names with versions, in one line."""
    return ", ".join(" ".join(item) for item in packages.items())
