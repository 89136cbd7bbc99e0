"""What one picture and its mask show when they are looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops

from u2net.errors import InvalidImage, reason
from u2net.evaluation.check.lookalikes import to_thumbnail
from u2net.evaluation.dataset import Example, Source, load_grey, load_indices
from u2net.images.load import Picture, load_image

SUBJECT = 128
"""Grey level from which on a pixel counts as subject."""

_MAX_SOFT = 0.1  # outlines alone take less in 99 % of DUTS-TR
_NOISE = 16  # levels that lossy compression adds or takes away, in a mask or between the channels of a grey one
_MIN_BORDER, _MAX_CENTRE = 0.9, 0.5


@dataclass
class Look:
    """What was seen of one pair."""

    faults: list[tuple[str, str]] = field(default_factory=list)
    """Name of a kind, and detail."""
    thumbnail: NDArray[np.uint8] | None = None
    """Of the picture, if it can be read."""
    border: float | None = None
    """Part of the mask's outermost pixels that is subject; None for masks of indices and those of one level."""
    centre: float | None = None
    """Part of the middle ninth that is subject."""
    counts: NDArray[np.int64] | None = None
    """Pixels of each index, (256,), of a mask of several classes."""

    def note(self, kind: str, detail: str) -> None:
        """Keep what was seen."""
        self.faults.append((kind, detail))


@dataclass(frozen=True)
class _Header:
    """What a file tells before it is decoded."""

    format: str = ""
    mode: str = ""
    orientation: int = 1
    """By EXIF: 1 is upright, from 5 on width and height change places."""


def look_at(example: Example, num_classes: int, ignore_index: int) -> Look:
    """Read picture and mask, and note what is wrong or odd about them; nothing that stands in a file raises.

    Examples without one of them are not looked at.
    """
    look = Look()
    if example.image is None or example.mask is None:
        return look
    image = _read(example.image, "picture", look)
    mask = _read(example.mask, "mask", look)
    if image:
        look.thumbnail = to_thumbnail(image[0].view())
    if mask and num_classes == 2:
        grey = load_grey(example.mask)  # read once more, so that this is what training takes
        _look_at_encoding(*mask, grey, look)
        _look_at_levels(grey, mask[1], look)
    elif mask:
        _look_at_indices(example.mask, num_classes, ignore_index, look)
    if image and mask:
        _compare_sizes(image[0].size, image[1].orientation, mask[0].size, mask[1].orientation, look)
    return look


def load_labels(source: Source, num_classes: int) -> NDArray[np.uint8]:
    """The class at each pixel of a mask, uint8 (H, W); of two classes 0 and 1. Raises InvalidImage or OSError."""
    return load_indices(source) if num_classes > 2 else (load_grey(source) >= SUBJECT).astype(np.uint8)


def is_inverted(border: float, centre: float) -> bool:
    """Whether a mask seems to have its subject in black, from the parts of border and middle ninth that are white.

    The rule: at least 90 % of the outermost pixels are white, and at most half of the middle ninth. A subject that
    fills the frame fills the middle too. No mask of DUTS-TR or ECSSD is taken for inverted; of their inverses 74 % and
    63 % are, the others' subjects touching the border or leaving the middle free.
    """
    return border >= _MIN_BORDER and centre <= _MAX_CENTRE


def _read(source: Source, role: str, look: Look) -> tuple[Picture, _Header] | None:
    """A picture and what its file tells; None, and a fault, if it cannot be read."""
    try:
        data = source.read()
        if not data:
            raise InvalidImage("the file is empty")
        return load_image(data), _read_header(data)
    except (InvalidImage, OSError) as error:
        look.note("unreadable", f"{role}: {reason(error)}")
        return None


def _read_header(data: bytes) -> _Header:
    try:
        with Image.open(BytesIO(data)) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            name = "lossy WebP" if image.format == "WEBP" and data[12:16] == b"VP8 " else image.format or ""
            return _Header(name, image.mode, orientation if orientation in range(1, 9) else 1)
    except Exception:  # Pillow refuses, or warns of, some pictures that `load_image` has read
        return _Header()


def _look_at_encoding(picture: Picture, header: _Header, grey: NDArray[np.uint8], look: Look) -> None:
    """How levels come out of the file: the one conversion that matters most."""
    low, high = np.array(picture.rgb.getextrema()).T
    r, g, b = picture.rgb.split()
    tint = max(np.max(ImageChops.difference(*two).getextrema()) for two in ((r, g), (g, b)))
    if picture.alpha is not None:
        is_flat = (low == high).all()
        look.note("alpha" if is_flat else "cut-out", "transparency of {} to {}".format(*picture.alpha.getextrema()))
    elif tint > _NOISE:
        levels = np.unique(grey)
        listed = ", ".join(map(str, levels)) if len(levels) <= 8 else f"{levels[0]} to {levels[-1]}"
        look.note("colour", f"{'palette' if header.mode == 'P' else 'RGB'}: colours become levels {listed}")
    elif high.max() == 1:
        look.note("zero-one", "highest level 1")
    elif header.mode == "P":
        look.note("palette", f"levels {low[0]} to {high[0]}")
    elif header.mode.startswith(("I", "F")):
        look.note("deep", f"mode {header.mode}")
    elif header.mode == "RGB" and not header.format.endswith(("WEBP", "WebP")):  # which has no other mode
        look.note("rgb", f"{header.format} of mode RGB")


def _look_at_levels(grey: NDArray[np.uint8], header: _Header, look: Look) -> None:
    """What training sees of a mask of two classes."""
    low, high = int(grey.min()), int(grey.max())
    between = np.count_nonzero((grey > 0) & (grey < 255)) / grey.size
    if header.format in ("JPEG", "lossy WebP"):
        look.note("lossy", f"{header.format}: {between:.1%} of pixels are neither black nor white")
    if high < SUBJECT or low >= SUBJECT:
        kind = "empty" if high == 0 else "dim" if high < SUBJECT else "full"
        hint = "; if they are classes, give --classes" if 0 < high < _NOISE else ""
        look.note(kind, (f"levels {low} to {high}" if low != high else f"level {low} everywhere") + hint)
        return
    if between > _MAX_SOFT and not any(kind in ("colour", "cut-out", "lossy") for kind, _ in look.faults):
        far = np.count_nonzero((grey > _NOISE) & (grey < 255 - _NOISE)) / grey.size
        look.note(
            "soft", f"{between:.0%} of pixels are neither black nor white, {far:.0%} by more than {_NOISE} levels"
        )
    subject = grey >= SUBJECT
    height, width = subject.shape
    border = np.concatenate([subject[0], subject[-1], subject[:, 0], subject[:, -1]])
    middle = subject[height // 3 : height - height // 3, width // 3 : width - width // 3]
    look.border, look.centre = float(border.mean()), float(middle.mean())
    if is_inverted(look.border, look.centre):
        look.note("inverted", f"{look.border:.0%} of the border is white, {look.centre:.0%} of the middle")


def _look_at_indices(source: Source, num_classes: int, ignore_index: int, look: Look) -> None:
    """Which classes a mask holds."""
    try:
        indices = load_indices(source)
    except (InvalidImage, OSError) as error:
        look.note("no-indices", reason(error))
        return
    look.counts = np.bincount(indices.ravel(), minlength=256)
    used = [int(index) for index in np.flatnonzero(look.counts)]
    beyond = [index for index in used if index >= num_classes and index != ignore_index]
    if beyond:
        part = look.counts[beyond].sum() / indices.size
        listed = ", ".join(map(str, beyond[:8])) + (", …" if len(beyond) > 8 else "")
        look.note("out-of-range", f"{listed} on {part:.1%} of pixels; classes are 0 to {num_classes - 1}")
    if used == [ignore_index]:
        look.note("ignored", f"index {ignore_index} everywhere")


def _compare_sizes(
    size: tuple[int, int], turned: int, mask_size: tuple[int, int], mask_turned: int, look: Look
) -> None:
    """Whether a mask lies on its picture, and if not, why."""
    (w, h), (mask_w, mask_h) = size, mask_size
    is_laid = (turned >= 5) != (mask_turned >= 5)  # EXIF changes width and height of one alone
    if size == mask_size:
        # Sizes that agree only once turned prove that the mask was drawn on the upright picture.
        if turned != mask_turned and not (is_laid and w != h):
            look.note("turned", f"EXIF orientation: {turned} of the picture, {mask_turned} of the mask")
        return
    if size == (mask_h, mask_w):
        one, other = ("picture", "mask") if turned >= 5 else ("mask", "picture")
        why = (
            f"the {one} is turned by its EXIF orientation, the {other} not" if is_laid else "the mask lies on its side"
        )
    elif abs(w * mask_h - h * mask_w) <= max(w, h, mask_w, mask_h):  # but for rounding to whole pixels
        why = f"same proportions, the mask is {mask_w / w:.3g} times as large"
    else:
        why = "other proportions, so they do not show the same"
    look.note("size", f"picture {w}×{h}, mask {mask_w}×{mask_h}: {why}")
