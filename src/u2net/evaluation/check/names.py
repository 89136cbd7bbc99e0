"""What the names of files give away: what has no counterpart, and what has two."""

from __future__ import annotations

import re
from collections.abc import Iterator

from u2net.evaluation.dataset import Dataset, Example, Source

_ADDED = re.compile(
    r"(?i)[-_. ](masks?|gt|ground_?truth|labels?|matte|alpha|seg|segmentation|image|img|picture|photo|rgb)$"
    r"|\.(jpe?g|png|webp|bmp|tiff?)$"
)
"""What programs put behind a name to tell picture from mask."""


def look_at_names(dataset: Dataset) -> Iterator[tuple[Example, str, str]]:
    """Example, kind and detail of each name that has no counterpart, or too many files."""
    pictures = {_bare(e.name): e.image for e in dataset if e.image and not e.mask}
    masks = {_bare(e.name): e.mask for e in dataset if e.mask and not e.image}
    examples = {example.name: example for example in dataset}
    for example in dataset:
        if example.image and not example.mask:
            yield example, "no-mask", _lonely(example.image, masks.get(_bare(example.name)))
        elif example.mask and not example.image:
            yield example, "no-picture", _lonely(example.mask, pictures.get(_bare(example.name)))
    for first, further in dataset.duplicates:
        yield examples[first.name.stem], "same-name", f"{shown(first)} and {shown(further)}"


def shown(source: Source) -> str:
    """A file's name with the folder that it lies in."""
    return f"{source.name.parent.name or '.'}/{source.name.name}"


def _lonely(source: Source, counterpart: Source | None) -> str:
    hint = f" seems to belong to {shown(counterpart)}: give both one name" if counterpart else ""
    return shown(source) + hint


def _bare(name: str) -> str:
    """A name without what was put behind it, whatever its case."""
    return _ADDED.sub("", name).casefold()
