"""Where a network's integers are: beside its file, or made from its published file by a packaged recipe.

A recipe is for networks that are too large to be packaged: it is their file of integers without the weights. These are
those of the published file, divided by a scale for each filter and rounded; `tools/make_recipe.py` writes recipes.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidModel, reason
from u2net.models.table import Model
from u2net.models.zoo import WEIGHTS, cache_folder, integers_beside, known_checksum
from u2net.system.files import atomic_write

_log = logging.getLogger(__name__)


def find_integers(path: Path, model: Model | None) -> Path | None:
    """The file of integers for a float32 file, made now if there is a recipe; None if there is none.

    `model` is the row of the table whose published file it is, if any. A recipe's file is kept in the cache folder, and
    used only if its checksum is right. Where that folder cannot be written, there is none, and a warning is logged.
    """
    recipe = _recipe(model)
    if recipe is None or model is None:
        beside = integers_beside(path)
        return beside if beside.is_file() else None
    target = cache_folder() / integers_beside(Path(model.file))
    try:
        with np.load(recipe) as parts:
            checksum = f"sha256:{parts['sha256']}"
            if not target.is_file() or known_checksum(target, "sha256") != checksum:
                _log.info("making %s from %s, once", target.name, path)
                _make(dict(parts), path, target)
    except OSError as error:
        _log.warning("%s cannot be kept, so %s is run in float32: %s", target.name, path.name, reason(error))
        return None
    return target


def is_proven(path: Path, model: Model) -> bool:
    """Whether a file that `find_integers` found is packaged, or as its packaged recipe says."""
    return path.parent == WEIGHTS or _recipe(model) is not None


def _recipe(model: Model | None) -> Path | None:
    path = WEIGHTS / f"{model.name}-int8.npz" if model and model.url else None
    return path if path and path.is_file() else None


def _make(parts: dict[str, NDArray[np.generic]], source: Path, target: Path) -> None:
    """Write a file of integers. Raises InvalidModel if it is not the one that the recipe is of."""
    content = apply_recipe(parts, source)
    if hashlib.sha256(content).hexdigest() != str(parts["sha256"]):
        raise InvalidModel(f"the integers that {source.name} gives are not those that were tested: reinstall u2net")
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as file:
        file.write(content)


def apply_recipe(parts: dict[str, NDArray[np.generic]], source: Path) -> bytes:
    """The file of integers that a recipe and a published file make.

    The recipe's arrays: `skeleton`, uint8, the file without its large weights; for each of these its place in the
    skeleton, `places`, and the start of its numbers in the published file, `sources`, both int64 (N,); its shape,
    `shapes`, int64 (N, 4); and the scales of all filters in this order, `scales`, float32; `sha256`, the file's digest.
    """
    skeleton = parts["skeleton"].tobytes()
    made: list[bytes] = []
    taken = filters = 0
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as published:
        for place, offset, shape in zip(parts["places"], parts["sources"], parts["shapes"], strict=True):
            weight = np.frombuffer(published, np.float32, int(np.prod(shape)), int(offset)).reshape(shape)
            scale = parts["scales"][filters : filters + len(weight)]
            values = np.round(weight / scale[:, None, None, None]).astype(np.int8)  # as u2net.net.quantise does
            made += [skeleton[taken:place], values.tobytes()]
            del weight  # the map cannot be closed before
            taken, filters = place, filters + len(scale)
    return b"".join((*made, skeleton[taken:]))
