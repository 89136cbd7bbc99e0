"""How a picture becomes a network's input, and its output a map: the only place that resizes and normalises.

A `Transform` is stored with its weights, in ONNX metadata and in checkpoints: no model has code of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.config import check_fields, read_fields, read_json
from u2net.system.process import in_threads

Backend = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32 (B, 3, H, W) in, float32 (B, C, H, W) out: C is 1 for saliency, else the number of classes."""

Resample = Literal["bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class Transform:
    """Preprocessing and postprocessing of one set of weights; the defaults are the authors' own.

    Raises ValueError for values of another type or out of range.
    """

    size: tuple[int, int] = (320, 320)
    """(width, height) the network sees; the picture is squashed to it, its aspect is not kept."""
    resample: Resample = "bilinear"
    """Kernel that shrinks the picture to `size`."""
    antialias: bool = False
    """Whether the kernel widens when shrinking; False, the authors' four taps, goes with "bilinear" alone."""
    divisor: Literal["max", "255"] = "max"
    """What 8-bit values are divided by before `mean` and `std`: the resized picture's own maximum, or 255."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from R, G, B in [0, 1]."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Then divided by, for R, G, B."""
    output: Literal["probabilities", "logits"] = "probabilities"
    """What the file puts out; logits go through sigmoid (one class) or softmax (several)."""
    stretch: bool = True
    """Whether each map is stretched to fill [0, 1], as the authors do; a constant map is left alone."""
    upsample: Resample = "bilinear"
    """Kernel that brings the map to the picture's size."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= min(self.size) <= max(self.size) <= 8192:
            raise ValueError(f"size is (width, height) in pixels, 1 to 8192 each, got {self.size}")
        if min(self.std) <= 0:
            raise ValueError(f"std is above 0, got {self.std}")
        if not self.antialias and self.resample != "bilinear":
            raise ValueError(f"resample {self.resample!r} needs antialias")

    def preprocess(self, image: Image.Image, of: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """What the network takes, float32 (3, height, width), from an RGB picture of any size.

        `of` is given where `image` holds only those pixels of a picture of that size that `samples` names.
        """
        return np.ascontiguousarray(self.normalise(self.resize(image, of)).transpose(2, 0, 1))

    def resize(self, image: Image.Image, of: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """An RGB picture, or its samples, at `size`: float32 (height, width, 3), 0 to 255."""
        if self.antialias:
            return np.asarray(self.shrink(image), dtype=np.float32)
        pixels, (columns, rows) = np.asarray(image), self._taps(of or image.size)
        if of is None:
            pixels = pixels.take(rows.place, axis=0).take(columns.place, axis=1)
        return _blend(pixels, columns, rows)

    def shrink(self, image: Image.Image) -> Image.Image:
        """An RGB picture at `size`, by a kernel that widens."""
        return image.resize(self.size, Image.Resampling[self.resample.upper()])

    def samples(self, size: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
        """Columns and rows that `resize` reads of a picture of this size, in its order; None if it reads all."""
        if self.antialias:
            return None
        columns, rows = self._taps(size)
        return columns.place, rows.place

    def normalise(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resized pixels, float32 (height, width, 3), 0 to 255, divided by `divisor`, less `mean`, over `std`."""
        peak = np.float32(255) if self.divisor == "255" else pixels.max()
        pixels = pixels / (peak if peak > 0 else np.float32(1))  # a black picture stays black
        pixels -= np.asarray(self.mean, dtype=np.float32)
        pixels /= np.asarray(self.std, dtype=np.float32)
        return pixels

    def saliency(self, output: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Saliency float32 (H, W) in [0, 1] at `size` = (W, H) from one network output, float32 (C, h, w).

        With several classes, class 0 is the background and saliency is the probability of any other.
        """
        return self._resize(self._saliency(output), size).clip(0, 1)  # bicubic and Lanczos overshoot

    def mask(self, output: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
        """The saliency in 256 grey levels: uint8 (H, W), as the authors write it.

        They cut to whole levels before they resize, so this may lie one level below the rounded saliency.
        """
        return self._resize((self._saliency(output) * 255).astype(np.uint8), size)

    def probability(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """The saliency before it is stretched and resized: float32 (h, w) in [0, 1] from one output, (C, h, w)."""
        maps = self._probabilities(output)
        return maps[0] if len(maps) == 1 else np.asarray(1 - maps[0])

    def labels(self, output: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Class of each pixel, uint8 (H, W) at `size` = (W, H), from one network output, float32 (C, h, w).

        With one class, 1 is the subject (saliency of one half or more).
        """
        if len(output) == 1:
            return (self.saliency(output, size) >= 0.5).astype(np.uint8)
        best = np.zeros((size[1], size[0]), dtype=np.float32)
        labels = np.zeros(best.shape, dtype=np.uint8)
        for index, probability in enumerate(self._probabilities(output)):  # one full-size map at a time
            resized = self._resize(probability, size)
            labels[resized > best] = index
            np.maximum(best, resized, out=best)
        return labels

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The Transform that `to_json` wrote. Raises ValueError for anything else."""
        return cls.from_dict(read_json(text, "Transform"))

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The Transform with these fields and defaults for the others. Raises ValueError for unknown ones."""
        return read_fields(cls, values, "Transform")

    def _probabilities(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.output == "probabilities":
            return output.clip(0, 1)
        if len(output) == 1:
            # exp of a positive number may overflow; of -|x| it cannot.
            small = np.exp(-np.abs(output))
            return np.asarray(np.where(output >= 0, 1, small) / (1 + small))
        exponentials = np.exp(output - output.max(axis=0))
        return np.asarray(exponentials / exponentials.sum(axis=0))

    def _saliency(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        saliency = self.probability(output)
        low, high = saliency.min(), saliency.max()
        return (saliency - low) / (high - low) if self.stretch and high > low else saliency

    def _taps(self, size: tuple[int, int]) -> tuple[_Taps, _Taps]:
        return _taps(size[0], self.size[0]), _taps(size[1], self.size[1])

    def _resize(self, values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        return enlarge(values, size, Image.Resampling[self.upsample.upper()])


class _Taps(NamedTuple):
    """The two neighbours of each sample position along one axis, one after the other."""

    place: NDArray[np.intp]
    weight: NDArray[np.float32]
    """0 beyond the border."""


def _taps(length: int, samples: int) -> _Taps:
    position = (np.arange(samples) + 0.5) * (length / samples) - 0.5
    below = np.floor(position).astype(np.intp)
    fraction = position - below
    index = np.stack([below, below + 1], axis=1).ravel()
    weight = np.stack([1 - fraction, fraction], axis=1).ravel()
    inside = (index >= 0) & (index < length)
    return _Taps(index.clip(0, length - 1), (weight * inside).astype(np.float32))


def _blend(pixels: NDArray[np.uint8], columns: _Taps, rows: _Taps) -> NDArray[np.float32]:
    """Bilinear at pixel centres with four taps whatever the scale, zero beyond the border: (h, w, 3) from their pixels.

    Equals skimage.transform.resize(order=1, mode="constant", anti_aliasing=False), the authors' resize.
    """
    height, width = len(rows.place) // 2, len(columns.place) // 2
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))  # along rows numpy weighs in half the time
    resized = np.zeros((len(planes), height, width), dtype=np.float32)
    for y in (0, 1):
        for x in (0, 1):
            resized += planes[:, y::2, x::2] * (rows.weight[y::2, None] * columns.weight[x::2])
    return resized.transpose(1, 2, 0)


AUTHORS = Transform()
"""As the authors' test script feeds their weights; reproduces their published maps (docs/weights.md)."""

REMBG = replace(AUTHORS, resample="lanczos", antialias=True, upsample="lanczos")
"""As rembg feeds the same weights."""


_STRIPE = 512  # columns: what the second pass reads of them stays in a processor's cache
_SMALL = 2**20


def enlarge(values: NDArray[Any], size: tuple[int, int], kernel: Image.Resampling) -> NDArray[Any]:
    """A map uint8 or float32 (h, w) at `size` = (width, height): (height, width), bit for bit as Pillow's resize.

    If both sides grow, Pillow resizes along rows first, then along columns. Columns do not depend on each other, so
    that threads can share them.
    """
    width, height = size
    image = Image.fromarray(values)
    if width * height <= _SMALL or width < image.width or height < image.height:
        return np.array(image.resize(size, kernel))
    wide = image.resize((width, image.height), kernel)
    enlarged = np.empty((height, width), dtype=values.dtype)

    def fill(left: int) -> None:
        right = min(left + _STRIPE, width)
        stripe = wide.crop((left, 0, right, wide.height))
        enlarged[:, left:right] = np.asarray(stripe.resize((right - left, height), kernel))

    in_threads(fill, range(0, width, _STRIPE))
    return enlarged
