"""`u2net models`: what there is, what is here, and what it costs."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from u2net.cli.failure import one_line_errors, say, say_json
from u2net.errors import InvalidModel, UnknownModel
from u2net.models import DEFAULT

_SIDES = click.IntRange(32, 2048)  # at which U²-Net writes maps of 24 GiB


@click.group()
def models() -> None:
    """List, describe, fetch and check models."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(as_json: bool) -> None:
    """List the models that have a name: where each is, how large its file is, and what to take it for."""
    with one_line_errors():
        from u2net.models.table import MODELS
        from u2net.models.zoo import find

        rows: list[dict[str, Any]] = []
        for model in MODELS.values():
            path = find(model.name)
            rows.append(
                {
                    "name": model.name,
                    "where": "packaged" if model.url is None else "here" if path else "to download",
                    "num_bytes": path.stat().st_size if path else model.num_bytes,
                    "purpose": model.purpose,
                    "licence": model.card.licence,
                    "source": model.card.source,
                }
            )
        if as_json:
            say_json(json.dumps(rows, indent=2))
            return
        for row in rows:
            size = f"{row['num_bytes'] / 1e6:.1f} MB"
            say(f"{row['name']:<16} {row['where']:<12} {size:>9}  {row['licence']:<11} {row['purpose']}")


@models.command()
@click.argument("model", metavar="NAME|FILE")
@click.option(
    "--size",
    nargs=2,
    type=_SIDES,
    metavar="WIDTH HEIGHT",
    help="Count the work at this size.  [default: the Transform's]",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(model: str, size: tuple[int, int] | None, as_json: bool) -> None:
    """Describe a model: its card, its Transform, its parameters, and the work and memory of one picture."""
    with one_line_errors():
        from u2net.inference.profile import measure
        from u2net.models.onnx_file import OnnxFile
        from u2net.models.zoo import resolve, row_of

        path = resolve(model, progress=sys.stderr.isatty())
        with _as_onnx(path) as onnx_path:
            file = OnnxFile.read(onnx_path)
            row = row_of(model, file)
            card = file.card(row.card if row else None)
            size = size or card.transform.size
            cost = measure(onnx_path, size)
    facts = asdict(card) | {"file": str(path), "num_bytes": path.stat().st_size, "size": size} | asdict(cost)
    if as_json:
        say_json(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    feeding = facts.pop("transform")
    scores = facts.pop("scores")
    say(f"{card.name}: {card.source}")
    rows = {
        "file": f"{path} ({facts['num_bytes']:,} bytes)",
        "licence": card.licence,
        "classes": ", ".join(card.classes),
        "weights": f"sha256 {card.sha256}" if card.sha256 else "not digested",
        "parameters": f"{card.num_parameters:,} ({cost.num_weights:,} in the file, batch normalisation folded)"
        if card.num_parameters
        else f"{cost.num_weights:,} (batch normalisation folded)",
        "work": f"{cost.num_macs / 1e9:.2f} GMAC at {size[0]}×{size[1]}",
        "activations": f"{cost.num_activations * 4 / 2**20:.0f} MiB in float32, all maps of one picture",
        **{f"score: {name}": f"{value:g}" for name, value in scores.items()},
        **{f"transform: {name}": value for name, value in feeding.items()},
    }
    for name, value in rows.items():
        say(f"  {name:<22} {value}")


@models.command()
@click.argument("model", metavar="[NAME|FILE]", default=DEFAULT)
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of the runtimes.  [default: their own choice]")
@click.option("--rounds", type=click.IntRange(1, 1000), default=9, show_default=True, help="Turns that each one takes.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def bench(model: str, threads: int | None, rounds: int, as_json: bool) -> None:
    """Time a model here: every runtime that is installed, at every precision that it has; the fastest first.

    They take turns with one picture. Ratios are to ONNX Runtime in float32, with the least and the largest of a turn.
    """
    with one_line_errors():
        from u2net.inference.profile import time_ways
        from u2net.models.table import MODELS
        from u2net.models.zoo import resolve

        path = resolve(model, progress=sys.stderr.isatty())
        with _as_onnx(path) as onnx_path:
            timings, missing = time_ways(model if model in MODELS else onnx_path, threads=threads, rounds=rounds)
    if as_json:
        say_json(json.dumps({"timings": [asdict(timing) for timing in timings], "missing": missing}, indent=2))
        return
    say(f"{'runtime':<12} {'precision':<9} {'ms':>7} {'ratio':>6}")
    for timing in timings:
        spread = f"[{timing.ratio_min:.2f}–{timing.ratio_max:.2f}]"
        say(f"{timing.runtime:<12} {timing.precision:<9} {timing.ms:>7.1f} {timing.ratio:>6.2f} {spread}")
    for way, reason in missing.items():
        say(f"{way}: {reason}")


@models.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Fetch again what is here already.")
def download(names: tuple[str, ...], force: bool) -> None:
    """Fetch models by name; each is verified before it gets its place."""
    with one_line_errors():
        from u2net.models import zoo

        for name in names:
            path = zoo.download(name, progress=sys.stderr.isatty(), force=force)
            click.echo(path)  # noqa: TID251  (scripts take it as it is, and the user named its folder)


@models.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Compare models, or all that are here, with their published checksums."""
    damaged = False
    with one_line_errors():
        from u2net.models import zoo
        from u2net.models.table import MODELS

        for name in names or MODELS:
            try:
                say(f"{name}: right, {zoo.verify(name)}")
            except UnknownModel:
                if names:
                    raise
            except InvalidModel as error:
                damaged = True
                say(f"u2net: {error}", err=True)
    if damaged:
        sys.exit(1)


@models.command()
@click.argument("name")
def path(name: str) -> None:
    """Print where a model's file is; download nothing."""
    with one_line_errors():
        from u2net.models.zoo import find

        found = find(name)
        if found is None:
            say(f"u2net: {name} is not on this machine: u2net models download {name}", err=True)
            sys.exit(1)
        click.echo(found)  # noqa: TID251  (as above)


@contextmanager
def _as_onnx(path: Path) -> Iterator[Path]:
    """A model file as ONNX: itself, or a passing export of weights in another format."""
    if path.suffix.lower() == ".onnx":
        yield path
        return
    from u2net.net import export_onnx, load_checkpoint

    network, card = load_checkpoint(path)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder, f"{path.stem}.onnx")
        export_onnx(network, exported, card)
        yield exported
