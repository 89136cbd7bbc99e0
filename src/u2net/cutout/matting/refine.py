"""From the network's coarse mask to an alpha that follows the picture, at the picture's size.

The network looks at 320 × 320 pixels whatever the picture's size, so its mask knows where the outline is to within a
few of these. What lies nearer is decided anew from the picture's colours: closed-form matting on a small picture, then
its linear functions of colour on the full one. docs/matting.md has what was measured.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.cutout.matting.areas import Area
from u2net.cutout.matting.closed_form import solve
from u2net.cutout.matting.guided import LinearAlpha, explained
from u2net.cutout.matting.small import enlarged, reduced
from u2net.images.morphology import Parts
from u2net.images.picture import Levels, to_8_bits, to_levels

Quality = Literal["fast", "balanced"]

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_CERTAIN_BACKGROUND, _CERTAIN_SUBJECT = 5 / 255, 250 / 255
_MARGIN = 2  # pixels of the small picture; what is certain must be so this far around
# Weights of the coarse mask: anywhere, and as much more where it is sure, and where colours do not tell.
_PRIOR, _PRIOR_SURE, _PRIOR_ALIKE = 1e-3, 0.02, 1.0
_TELL_LITTLE, _TELL_NEARLY_ALL = 0.65, 0.84  # means over the band of what colours tell
_PRIOR_TOLD = 0.05  # of `_PRIOR_ALIKE`, in a picture whose colours tell nearly all
_AROUND = 8  # radius of the windows in which colours tell the subject from what surrounds it, or not
_SMOOTH = 3e-5  # variance of colour that closed form takes for none
_FLAT = 1e-4  # variance of colour that linear functions take for none
_WIDE = 4  # radius of the windows in which "fast" fits the mask itself
_FOG = 0.05  # alpha this near to nothing or to everything is taken for that
_SAMPLES = 8  # of the pixels of the small picture, across and down, for "fast"; "balanced" is worse in noise with these
_DETAIL = 1024  # longer side; what hangs together is looked at in squares that are as fine as this


def refine(
    image: NDArray[np.uint8] | Image.Image,
    mask: NDArray[np.uint8],
    quality: Quality = "balanced",
    colors: NDArray[np.uint16] | None = None,
) -> Levels:
    """The alpha of the subject that a coarse mask shows: uint8 (H, W), from its mask, uint8 (H, W) or smaller.

    The image is uint8 (H, W, 3), or better of PIL in mode RGB: then no copy of it is made. With `colors`, the same
    picture in 16 bits, uint16 (H, W, 3), the alpha is uint16 and theirs, by the functions of colour found in 8 bits.

    Where the mask is certain, and nothing else is within a few of the network's pixels, it is kept, made 0 or 255. The
    band between is decided by colour: "fast" fits the mask itself by functions of colour, "balanced" finds the alpha
    that they explain best. Both trust the mask where colours do not tell, "balanced" less so if they tell in most
    of the band. No hole appears in the subject, and no speck beside it, that the mask knows nothing of; and what shows
    without a connection to anything that is more subject than not is taken away.

    Time follows the pixels of the band, besides one reduction of the picture; memory is three times the picture's own.
    """
    if not isinstance(image, Image.Image):
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"an image is (H, W, 3) and its mask (H, W), got {image.shape} and {mask.shape}")
        image = Image.fromarray(image)
    function, band = _decide(image, mask, quality)
    peak = np.uint8(255) if colors is None else np.uint16(65_535)
    full = image.height, image.width
    alpha: Levels = enlarged((mask >= 128) * peak, (slice(0, full[0]), slice(0, full[1])), full)
    for area in Area.of(alpha.shape, lambda box: enlarged(band, box, full)):
        found = function(area, image if colors is None else colors)
        found -= np.float32(_FOG)
        found *= np.float32(1 / (1 - 2 * _FOG))
        area.put(alpha, to_levels(found, alpha.dtype))
    _clear_specks(alpha)
    return alpha


def _decide(image: Image.Image, mask: NDArray[np.uint8], quality: Quality) -> tuple[LinearAlpha, Mask]:
    """What alpha is in the band where the mask is not certain, and that band, boolean at the small picture's size."""
    if quality not in get_args(Quality):
        raise ValueError(f"quality is one of {', '.join(get_args(Quality))}, got {quality!r}")
    colors, coarse = reduced(image, _SAMPLES if quality == "fast" else None), reduced(mask)
    if image.mode != "RGB" or colors.shape[:2] != coarse.shape:
        raise ValueError(f"an image is RGB and its mask of its shape, got {image.mode} {image.size} and {mask.shape}")
    subject = _everywhere_within(coarse > _CERTAIN_SUBJECT, _MARGIN)
    background = _everywhere_within(coarse < _CERTAIN_BACKGROUND, _MARGIN)
    band = ~(subject | background)
    if quality == "fast":
        return LinearAlpha.fit_as_told(colors, coarse, radius=_WIDE, epsilon=_FLAT), band
    start = np.where(band, coarse, subject).astype(np.float32)
    solved = solve(colors, start, band, prior=_prior(colors, coarse, band), epsilon=_SMOOTH)
    return LinearAlpha.fit(colors, _without_inventions(solved, coarse), radius=1, epsilon=_FLAT), band


def _prior(colors: Floats, coarse: Floats, band: Mask) -> Floats:
    """How much the mask is trusted beside the colours; float32 (h, w)."""
    told = explained(colors, coarse, radius=_AROUND, epsilon=_FLAT)
    told_in_all = told[band].mean() if band.any() else 1.0
    alike = _PRIOR_ALIKE * np.interp(told_in_all, (_TELL_LITTLE, _TELL_NEARLY_ALL), (1, _PRIOR_TOLD))
    return np.asarray(_PRIOR + _PRIOR_SURE * (2 * coarse - 1) ** 4 + np.float32(alike) * (1 - told) ** 3)


def _clear_specks(alpha: Levels) -> None:
    """Make 0 what shows and hangs together with nothing of more than one half, unless there is nothing of that."""
    side = -(-max(alpha.shape) // _DETAIL)
    highest = alpha
    for axis in (0, 1):
        rows = highest.swapaxes(0, axis)
        first = rows[::side].copy()
        for step in range(1, side):
            some = rows[step::side]
            np.maximum(first[: len(some)], some, out=first[: len(some)])
        highest = first.swapaxes(0, axis)
    highest = to_8_bits(highest)
    parts = Parts.of(highest > 0)
    faint = ~parts.touching(highest > 127)
    if faint.all() or not faint.any():
        return
    specks = parts.where(faint)
    for row in np.flatnonzero(specks.any(axis=1)):
        alpha[side * row : side * (row + 1)] *= ~specks[row].repeat(side)[: alpha.shape[1]]


def _everywhere_within(mask: Mask, radius: int) -> Mask:
    """Pixels whose squares of 2 × `radius` + 1, as far as they lie in the picture, lie in the mask."""
    for axis in (0, 1):
        before = mask.swapaxes(0, axis)
        kept = before.copy()
        for step in range(1, min(radius, len(before) - 1) + 1):
            kept[step:] &= before[:-step]
            kept[:-step] &= before[step:]
        mask = kept.swapaxes(0, axis)
    return mask


def _without_inventions(alpha: Floats, mask: Floats) -> Floats:
    """An alpha whose holes and specks of which the mask has no trace are given back to the mask."""
    for solved, known in ((alpha < 0.5, mask < 0.5), (alpha >= 0.5, mask >= 0.5)):
        parts = Parts.of(solved)
        alpha = np.where(parts.where(~parts.touching(known)), mask, alpha)
    return alpha
