"""From a picture to the alpha of its subject: how often the network looks, and who decides the outline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from u2net.cutout.config import Quality
from u2net.cutout.matting.alpha_matting import alpha_matte, smooth_mask
from u2net.cutout.matting.refine import refine
from u2net.cutout.matting.small import mask_size
from u2net.images.picture import Levels, Picture, to_8_bits, to_16_bits
from u2net.inference.session import Prediction, Session

_FINE = 512  # pixels; what models of larger maps know of outlines, a refinement on 256 pixels does not


@dataclass(frozen=True)
class Matting:
    """rembg's `alpha_matting`: closed form between what the mask is sure of. Raises ValueError out of range."""

    foreground_threshold: int = 240
    """Above this, 0 to 255, the mask is sure of the subject."""
    background_threshold: int = 10
    """Below this, 0 to 255, it is sure of the background."""
    erode_size: int = 10
    """Side of the square that must be sure around a pixel."""

    def __post_init__(self) -> None:
        for name in ("foreground_threshold", "background_threshold"):
            if getattr(self, name) not in range(256):
                raise ValueError(f"alpha_matting_{name} is 0 to 255, got {getattr(self, name)}")
        if self.erode_size not in range(1001):
            raise ValueError(f"alpha_matting_erode_size is 0 to 1000, got {self.erode_size}")


@dataclass(frozen=True)
class Outline:
    """How the alpha of a subject is found. Raises ValueError for a quality that is unknown, or not for `matting`."""

    quality: Quality | None = None
    """None is "fast", or "coarse" for models that look at more than 512 pixels and know their outlines better."""
    looks: int | None = None
    """How often the network looks at a picture, as `Session.predict` takes it. None is 2 for "best", else 1."""
    matting: Matting | None = None
    """In place of a refinement of the coarse mask."""
    hard: bool = False
    """Whether the alpha is made 0 and 255 with smooth outlines, as by rembg's `post_process_mask`."""

    def __post_init__(self) -> None:
        if self.quality not in (None, *get_args(Quality)):
            raise ValueError(f"quality is one of {', '.join(get_args(Quality))}, got {self.quality!r}")
        if self.matting and self.quality not in (None, "coarse"):
            raise ValueError("`alpha_matting` finds the outline in its own way: give it or `quality`")

    @property
    def num_looks(self) -> int:
        """How often the network looks at a picture."""
        return self.looks or (2 if self.quality == "best" else 1)

    def predict(self, picture: Picture, session: Session) -> Prediction:
        """The mask, and how sure the network is that there is a subject."""
        return session.predict(picture, self.num_looks)

    def alpha(self, picture: Picture, prediction: Prediction) -> Levels:
        """The subject's alpha, (H, W): uint8, or uint16 if the picture has 16 bits; `prediction` is from `predict`."""
        in_16 = picture.rgb_16 is not None
        if self.matting is not None:
            # rembg's order: what is matted is the mask made hard.
            mask = smooth_mask(prediction.mask) if self.hard else prediction.mask
            return alpha_matte(np.asarray(picture.colors), mask, **asdict(self.matting))
        quality = self.quality or ("coarse" if max(prediction.transform.size) > _FINE else "fast")
        if quality != "coarse":
            colors = None if self.hard else picture.rgb_16  # for two levels 8 bits will do
            mask = prediction.mask_at(mask_size(picture.size))
            alpha = refine(picture.rgb, mask, "fast" if quality == "fast" else "balanced", colors)
        elif in_16 and not self.hard:
            alpha = _finer(prediction)
        else:
            alpha = prediction.mask
        if self.hard:
            alpha = smooth_mask(to_8_bits(alpha))
            alpha = to_16_bits(alpha) if in_16 else alpha
        return alpha


def _finer(prediction: Prediction) -> NDArray[np.uint16]:
    """The mask in 16 bits."""
    saliency = prediction.transform.saliency(prediction.output, prediction.size)
    saliency *= np.float32(65_535)
    saliency += np.float32(0.5)
    alpha = saliency.astype(np.uint16)
    alpha[prediction.mask == 0] = 0  # else there would be a trace of alpha, and so of colour, nearly everywhere
    return alpha
