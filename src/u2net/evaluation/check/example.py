"""Checks of one picture and its mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops

from u2net.errors import InvalidImage, reason
from u2net.evaluation.check.lookalikes import to_thumbnail
from u2net.evaluation.dataset import Example, Source, load_grey, load_indices
from u2net.images.load import load_image
from u2net.images.picture import Picture

SUBJECT = 128
"""Pixels of this grey level or more count as subject."""

_MAX_SOFT = 0.1  # outlines alone take less in 99 % of DUTS-TR
_NOISE = 16  # levels that lossy compression adds or takes away, in a mask or between the channels of a grey one

# A subject seems to be black if this much of the outermost pixels is white, and no more than this of the middle ninth:
# a subject that fills the frame fills the middle too. That accuses no mask of DUTS-TR or ECSSD, and finds 74 % and 63 %
# of their inverses. In the others, subjects touch the border or leave the middle free.
_MIN_BORDER, _MAX_CENTRE = 0.9, 0.5


@dataclass
class Checked:
    """What the check of one example found."""

    faults: list[tuple[str, str]] = field(default_factory=list)
    """Name of a kind, and detail."""
    thumbnail: NDArray[np.uint8] | None = None
    """Of the picture, if it can be read."""
    white: tuple[float, float] | None = None
    """Shares of the mask's outermost pixels and of its middle ninth that are subject; None for masks of indices or of
    one level."""
    counts: NDArray[np.int64] | None = None
    """Pixels of each index, (256,), of a mask of several classes."""

    def note(self, kind: str, detail: str) -> None:
        """Add a fault."""
        self.faults.append((kind, detail))


class _File(NamedTuple):
    """A picture, and what its file says before it is decoded."""

    picture: Picture
    format: str = ""
    mode: str = ""
    orientation: int = 1
    """By EXIF: 1 is upright; from 5 on, width and height change places."""


def check_example(example: Example, num_classes: int, ignore_index: int) -> Checked:
    """Read picture and mask, and note what is wrong or odd; no content of a file raises an error.

    Examples without picture or without mask are not checked.
    """
    checked = Checked()
    if example.image is None or example.mask is None:
        return checked
    image = _read(example.image, "picture", checked)
    mask = _read(example.mask, "mask", checked)
    if image:
        checked.thumbnail = to_thumbnail(image.picture.view())
    if mask and num_classes == 2:
        grey = load_grey(example.mask)  # read once more, so that this is what training takes
        _check_encoding(mask, grey, checked)
        _check_levels(grey, mask.format, checked)
    elif mask:
        _check_indices(example.mask, num_classes, ignore_index, checked)
    if image and mask:
        _check_sizes(image, mask, checked)
    return checked


def load_labels(source: Source, num_classes: int) -> NDArray[np.uint8]:
    """The class at each pixel of a mask, uint8 (H, W); of two classes 0 and 1. Raises InvalidImage or OSError."""
    return load_indices(source) if num_classes > 2 else (load_grey(source) >= SUBJECT).astype(np.uint8)


def _read(source: Source, role: str, checked: Checked) -> _File | None:
    """A file; if it cannot be read, None, and a fault is noted."""
    try:
        data = source.read()
        if not data:
            raise InvalidImage("the file is empty")
        picture = load_image(data)
    except (InvalidImage, OSError) as error:
        checked.note("unreadable", f"{role}: {reason(error)}")
        return None
    try:
        with Image.open(BytesIO(data)) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            name = "lossy WebP" if image.format == "WEBP" and data[12:16] == b"VP8 " else image.format or ""
            return _File(picture, name, image.mode, orientation if orientation in range(1, 9) else 1)
    except Exception:  # Pillow refuses, or warns of, some pictures that `load_image` has read
        return _File(picture)


def _check_encoding(mask: _File, grey: NDArray[np.uint8], checked: Checked) -> None:
    """How the levels of a mask are stored, and so what training takes for subject."""
    rgb, alpha = mask.picture.rgb, mask.picture.alpha
    low, high = np.array(rgb.getextrema()).T
    r, g, b = rgb.split()
    tint = max(np.max(ImageChops.difference(*two).getextrema()) for two in ((r, g), (g, b)))
    if alpha is not None:
        is_flat = (low == high).all()
        checked.note("alpha" if is_flat else "cut-out", "transparency of {} to {}".format(*alpha.getextrema()))
    elif tint > _NOISE:
        levels = np.unique(grey)
        listed = ", ".join(map(str, levels)) if len(levels) <= 8 else f"{levels[0]} to {levels[-1]}"
        checked.note("colour", f"{'palette' if mask.mode == 'P' else 'RGB'}: colours become levels {listed}")
    elif high.max() == 1:
        checked.note("zero-one", "highest level 1")
    elif mask.mode == "P":
        checked.note("palette", f"levels {low[0]} to {high[0]}")
    elif mask.mode.startswith(("I", "F")):
        checked.note("deep", f"mode {mask.mode}")
    elif mask.mode == "RGB" and not mask.format.endswith(("WEBP", "WebP")):  # which has no other mode
        checked.note("rgb", f"{mask.format} of mode RGB")


def _check_levels(grey: NDArray[np.uint8], kind: str, checked: Checked) -> None:
    """The levels that training gets from a mask of two classes."""
    low, high = int(grey.min()), int(grey.max())
    between = np.count_nonzero((grey > 0) & (grey < 255)) / grey.size
    if kind in ("JPEG", "lossy WebP"):
        checked.note("lossy", f"{kind}: {between:.1%} of pixels are neither black nor white")
    if high < SUBJECT or low >= SUBJECT:
        fault = "empty" if high == 0 else "dim" if high < SUBJECT else "full"
        hint = "; if they are classes, give --classes" if 0 < high < _NOISE else ""
        checked.note(fault, (f"levels {low} to {high}" if low != high else f"level {low} everywhere") + hint)
        return
    if between > _MAX_SOFT and not any(fault in ("colour", "cut-out", "lossy") for fault, _ in checked.faults):
        far = np.count_nonzero((grey > _NOISE) & (grey < 255 - _NOISE)) / grey.size
        checked.note(
            "soft", f"{between:.0%} of pixels are neither black nor white, {far:.0%} by more than {_NOISE} levels"
        )
    subject = grey >= SUBJECT
    height, width = subject.shape
    border = float(np.concatenate([subject[0], subject[-1], subject[:, 0], subject[:, -1]]).mean())
    centre = float(subject[height // 3 : height - height // 3, width // 3 : width - width // 3].mean())
    checked.white = border, centre
    if border >= _MIN_BORDER and centre <= _MAX_CENTRE:
        checked.note("inverted", f"{border:.0%} of the border is white, {centre:.0%} of the middle")


def _check_indices(source: Source, num_classes: int, ignore_index: int, checked: Checked) -> None:
    """Which classes a mask holds."""
    try:
        indices = load_indices(source)
    except (InvalidImage, OSError) as error:
        checked.note("no-indices", reason(error))
        return
    checked.counts = np.bincount(indices.ravel(), minlength=256)
    used = [int(index) for index in np.flatnonzero(checked.counts)]
    beyond = [index for index in used if index >= num_classes and index != ignore_index]
    if beyond:
        part = checked.counts[beyond].sum() / indices.size
        listed = ", ".join(map(str, beyond[:8])) + (", …" if len(beyond) > 8 else "")
        checked.note("out-of-range", f"{listed} on {part:.1%} of pixels; classes are 0 to {num_classes - 1}")
    if used == [ignore_index]:
        checked.note("ignored", f"index {ignore_index} everywhere")


def _check_sizes(image: _File, mask: _File, checked: Checked) -> None:
    """Whether a mask fits its picture, and if not, why."""
    (w, h), (mask_w, mask_h) = image.picture.size, mask.picture.size
    is_laid = (image.orientation >= 5) != (mask.orientation >= 5)  # EXIF changes width and height of one alone
    if (w, h) == (mask_w, mask_h):
        # Sizes that agree only after turning prove that the mask was drawn on the upright picture.
        if image.orientation != mask.orientation and not (is_laid and w != h):
            detail = f"EXIF orientation: {image.orientation} of the picture, {mask.orientation} of the mask"
            checked.note("turned", detail)
        return
    if (w, h) == (mask_h, mask_w):
        one, other = ("picture", "mask") if image.orientation >= 5 else ("mask", "picture")
        turned = f"the {one} is turned by its EXIF orientation, the {other} not"
        why = turned if is_laid else "the mask lies on its side"
    elif abs(w * mask_h - h * mask_w) <= max(w, h, mask_w, mask_h):  # but for rounding to whole pixels
        why = f"same proportions, the mask is {mask_w / w:.3g} times as large"
    else:
        why = "other proportions, so they do not show the same"
    checked.note("size", f"picture {w}×{h}, mask {mask_w}×{mask_h}: {why}")
