"""The pairs of a run by name and content, and which of them are others when the run goes on."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from u2net.evaluation.dataset import Example, Source
from u2net.system.files import atomic_write
from u2net.training.examples import Progress, in_threads
from u2net.training.loader import Data

Facts = list[int | str]
"""Of a file: its size, when its content and when anything of it changed (which no program can set), and a digest."""
Inventory = dict[str, dict[str, list[Facts]]]
"""Under "training" and "validation", by the pair's name: facts of its picture, then of its mask."""

_NUM_NAMED = 3
_NUM_THREADS = 8  # a network disk is mostly waited for


def note_data(record: Path, data: Data, progress: Progress = iter) -> str:
    """Write down which pairs a run uses, and return in words what is not as it was written before.

    That is empty if nothing is, and where `record` is missing, as in a run of 0.1.0, or damaged. Every file is read for
    its digest, unless its size and times are as before. Raises OSError for what cannot be read or written.
    """
    sides = {"training": data.store.examples.entries, "validation": list(itertools.chain(*data.validation))}
    try:
        before: Inventory = json.loads(record.read_bytes())
        known = {name: files for side in sides for name, files in before[side].items()}
        now, unread = _list(sides, known)
    except (FileNotFoundError, *_DAMAGE):
        before, (now, unread) = {}, _list(sides, {})

    def digest(index: int) -> None:
        source, facts = unread[index]
        facts.append(hashlib.sha256(source.read()).hexdigest()[:32])

    in_threads(digest, len(unread), _NUM_THREADS, progress)
    try:
        told = _differences(before, now) if before else ""
    except _DAMAGE:
        told = ""
    with atomic_write(record) as file:
        file.write(json.dumps(now).encode())
    return told


_DAMAGE = (ValueError, LookupError, TypeError, AttributeError)
"""What comes of a record that is not one."""


def _list(
    sides: Mapping[str, Iterable[Example]], known: Mapping[str, list[Facts]]
) -> tuple[Inventory, list[tuple[Source, Facts]]]:
    """The pairs, and of these the files whose digest is not known: it is to be added to their facts."""
    now: Inventory = {side: {} for side in sides}
    unread = []
    for side, examples in sides.items():
        for example in examples:
            sources = [source for source in (example.image, example.mask) if source]
            now[side][example.name] = files = [_facts(source) for source in sources]
            old = known.get(example.name, [])
            for source, facts, was in itertools.zip_longest(sources, files, old[: len(files)]):
                if was and was[:-1] == facts:
                    facts.append(was[-1])
                else:
                    unread.append((source, facts))
    return now, unread


def _facts(source: Source) -> Facts:
    """What tells without reading that a file is the same: size and times, in an archive those of the archive."""
    status = source.path.stat()
    size = status.st_size if source.inside is None else source.inside[2]
    return [size, status.st_mtime_ns, status.st_ctime_ns]


def _differences(before: Inventory, now: Inventory) -> str:
    """What was added, taken away or changed, with a few names of each, and what changed sides."""
    (trained, validated), (trains, validates) = (
        [{name: [facts[-1] for facts in files] for name, files in whole[side].items()} for side in now]
        for whole in (before, now)
    )
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
