"""One example as people see at a glance whether it is right: the mask in colour over the picture."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from u2net.errors import InvalidImage
from u2net.evaluation.check.pair import SUBJECT
from u2net.evaluation.dataset import Example, Source, load_grey, load_indices
from u2net.images.load import load_image

_OPACITY = 0.45
_SUBJECT_COLOUR = (255, 0, 130)  # few subjects have it
_IGNORED_COLOUR = (128, 128, 128)


def draw_example(example: Example, num_classes: int, size: tuple[int, int]) -> Image.Image:
    """The mask over the picture, filling `size` one way; side by side where one does not lie on the other.

    What cannot be read or is missing is a crossed box.
    """
    picture = _load_picture(example.image)
    labels = _load_mask(example.mask, num_classes)
    if picture is None or labels is None or picture.size != labels.shape[::-1]:
        return side_by_side([_picture_panel(picture, size), _mask_panel(labels, num_classes, size)], size)
    picture = ImageOps.contain(picture, size)
    return Image.fromarray(_laid_over(np.asarray(picture), _shrunk(labels, picture.size, num_classes), num_classes))


def side_by_side(panels: list[Image.Image], size: tuple[int, int]) -> Image.Image:
    """Panels in a row within `size`, with a gap between them."""
    gap = 6
    width = (size[0] - gap * (len(panels) - 1)) // len(panels)
    panels = [ImageOps.contain(panel, (width, size[1])) for panel in panels]
    row = Image.new(
        "RGB", (sum(p.width for p in panels) + gap * (len(panels) - 1), max(p.height for p in panels)), "white"
    )
    left = 0
    for panel in panels:
        row.paste(panel, (left, (row.height - panel.height) // 2))
        left += panel.width + gap
    return row


def class_colour(index: int, num_classes: int) -> tuple[int, int, int]:
    """The colour of a class: as many hues as classes, the background's never used."""
    if index >= num_classes:
        return _IGNORED_COLOUR
    if num_classes == 2:
        return _SUBJECT_COLOUR
    r, g, b = colorsys.hsv_to_rgb((index - 1) / (num_classes - 1), 0.9, 1.0)
    return round(255 * r), round(255 * g), round(255 * b)


def _load_picture(source: Source | None) -> Image.Image | None:
    try:
        return load_image(source.read()).view() if source else None
    except (InvalidImage, OSError):
        return None


def _load_mask(source: Source | None, num_classes: int) -> NDArray[np.uint8] | None:
    """Levels for two classes, indices for more."""
    try:
        return (load_grey if num_classes == 2 else load_indices)(source) if source else None
    except (InvalidImage, OSError):
        return None


def _shrunk(mask: NDArray[np.uint8], size: tuple[int, int], num_classes: int) -> NDArray[np.uint8]:
    resample = Image.Resampling.BOX if num_classes == 2 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(mask).resize(size, resample))


def _laid_over(picture: NDArray[np.uint8], mask: NDArray[np.uint8], num_classes: int) -> NDArray[np.uint8]:
    """The mask's colours over the picture, as strong as its levels, with a light outline."""
    labels = (mask >= SUBJECT).astype(np.uint8) if num_classes == 2 else mask
    colours = np.array([class_colour(index, num_classes) for index in range(256)])
    strength = (mask / 255 if num_classes == 2 else labels > 0)[..., None] * _OPACITY
    tinted = picture * (1 - strength) + colours[1 if num_classes == 2 else labels] * strength
    tinted[_outline(labels)] = 255
    return np.asarray(np.rint(tinted), np.uint8)


def _outline(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels with another class to the right or below."""
    outline = np.zeros(labels.shape, np.bool_)
    outline[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    outline[:-1] |= labels[:-1] != labels[1:]
    return outline


def _picture_panel(picture: Image.Image | None, size: tuple[int, int]) -> Image.Image:
    return picture or _crossed(size)


def _mask_panel(mask: NDArray[np.uint8] | None, num_classes: int, size: tuple[int, int]) -> Image.Image:
    if mask is None:
        return _crossed(size)
    if num_classes == 2:
        return Image.fromarray(mask).convert("RGB")
    colours = np.array([(0, 0, 0), *(class_colour(index, num_classes) for index in range(1, 256))], np.uint8)
    return Image.fromarray(colours[mask])


def _crossed(size: tuple[int, int]) -> Image.Image:
    width, height = size
    box = Image.new("RGB", size, (238, 238, 238))
    draw = ImageDraw.Draw(box)
    draw.line((0, 0, width, height), fill=(190, 190, 190), width=2)
    draw.line((0, height, width, 0), fill=(190, 190, 190), width=2)
    return box
