"""The pairs of a run by name, size and time, and which of them are others when the run goes on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path

from u2net.evaluation.dataset import Example, Source
from u2net.system import atomic_write
from u2net.training.loader import Data

Inventory = dict[str, dict[str, list[int]]]
"""Under "training" and "validation", by the pair's name: size and time of its picture, then of its mask."""

_NUM_NAMED = 3


def note_data(record: Path, data: Data) -> str:
    """Write down which pairs a run uses, and return in words what is not as it was written before.

    That is empty if nothing is, and where `record` is missing, as in a run of 0.1.0, or damaged.
    """
    validation = itertools.chain.from_iterable(data.validation)
    now = {"training": _list(data.store.examples.entries), "validation": _list(validation)}
    try:
        before = json.loads(record.read_bytes())
        told = _differences(before, now)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        told = ""
    with atomic_write(record) as file:
        file.write(json.dumps(now).encode())
    return told


def _list(examples: Iterable[Example]) -> dict[str, list[int]]:
    return {e.name: [fact for source in (e.image, e.mask) if source for fact in _facts(source)] for e in examples}


def _facts(source: Source) -> tuple[int, int]:
    """Size and time of a file; within an archive, whose time says nothing of one picture, the size alone."""
    if source.inside is not None:
        return source.inside[2], 0
    try:
        status = source.path.stat()
    except OSError:  # it was there a moment ago; reading it will tell
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _differences(before: Inventory, now: Inventory) -> str:
    """What was added, taken away or changed, with a few names of each, and what changed sides."""
    (trained, validated), (trains, validates) = ([side["training"], side["validation"]] for side in (before, now))
    old, new = {*trained, *validated}, {*trains, *validates}
    sides = ((trained, trains), (validated, validates))
    found = {
        "added": new - old,
        "gone": old - new,
        "changed": {name for was, now_is in sides for name in {*was} & {*now_is} if was[name] != now_is[name]},
        "trained on before, now validated on": ({*trained} & {*validates}) - {*validated},
        "validated on before, now trained on": ({*validated} & {*trains}) - {*trained},
    }
    return ", ".join(
        f"{len(names):,} {what} ({', '.join(sorted(names)[:_NUM_NAMED])}{', …' if len(names) > _NUM_NAMED else ''})"
        for what, names in found.items()
        if names
    )
