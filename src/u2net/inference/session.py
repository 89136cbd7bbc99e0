"""A model ready to run: any runtime behind one callable, fed and read by the model's own Transform."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidModel, NotPicklable, SessionClosed
from u2net.images.load import ImageData, load_image
from u2net.images.picture import Picture
from u2net.models.card import Card
from u2net.models.transform import Backend, Transform

if TYPE_CHECKING:
    from u2net.inference.origin import Origin


_FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (1,))
"""The axes of (C, h, w) that are turned over for the first, second and third look."""


@dataclass(frozen=True)
class Prediction:
    """What the network says of a picture."""

    confidence: float
    """The probability that the picture shows a subject at all, by `u2net.inference.session`; 0 to 1."""
    output: NDArray[np.float32]
    """What the network put out, (C, h, w)."""
    transform: Transform
    """How it is read."""
    size: tuple[int, int]
    """Width and height of the picture."""

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """The saliency in grey levels, (H, W), as `Session.mask` gives it."""
        return self.mask_at(self.size)

    def mask_at(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The same at another width and height, which is made in less time if it is small."""
        return self.transform.mask(self.output, size)


class Session:
    """Turns pictures into maps of their size. May be used by several threads at once.

    As a context manager it closes itself. One that `new_session` opened may be pickled: its file and how it was opened
    are kept, with the file's digest, and where it arrives it is opened with the first picture.
    """

    def __init__(self, backend: Backend, card: Card, origin: Origin | None = None) -> None:
        self.backend = backend
        self.card = card
        self._origin = origin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[Origin], Session], tuple[Origin]]:
        if self.is_closed:
            raise SessionClosed("the session is closed")
        if self._origin is None:
            raise NotPicklable(
                "a session around a live network or a function cannot be pickled: new_session opens files"
            )
        return self._origin.travel()

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more pictures."""
        return self.backend is _closed

    def close(self) -> None:
        """Let go of the runtime, its memory and its threads; maps that are being made are finished.

        Pictures given afterwards raise SessionClosed. May be called again.
        """
        self.backend = _closed

    def saliency(self, image: ImageData | Picture) -> NDArray[np.float32]:
        """How much each pixel belongs to the subject: float32 (H, W) in [0, 1], at the upright picture's size.

        Raises InvalidImage for what is not an acceptable picture.
        """
        return self.card.transform.saliency(*self._output(image))

    def predict(self, image: ImageData | Picture, looks: int = 1) -> Prediction:
        """The mask of a picture, and how sure the network is that there is a subject; raises as `saliency` does.

        With 2 `looks` it is the mean of what the network puts out for the picture and for its mirror image; with 3 the
        picture upside down counts too. Each look takes the network's time once more (docs/matting.md has what it
        brings). Raises ValueError for another number of looks.
        """
        return self.read(*self._output(image, looks))

    def look(self, image: ImageData | Picture, looks: int = 1) -> NDArray[np.float32]:
        """What the network puts out for a picture, (C, h, w): for `read`, where something is done to it before."""
        return self._output(image, looks)[0]

    def read(self, output: NDArray[np.float32], size: tuple[int, int]) -> Prediction:
        """What an output, (C, h, w), says of a picture of this width and height."""
        transform = self.card.transform
        confidence = subject_confidence(transform.probability(output), self.card.sharpness)
        return Prediction(confidence, output, transform, size)

    def mask(self, image: ImageData | Picture) -> NDArray[np.uint8]:
        """The saliency in grey levels: uint8 (H, W), 0 to 255, as the model's authors write it."""
        return self.card.transform.mask(*self._output(image))

    def labels(self, image: ImageData | Picture) -> NDArray[np.uint8]:
        """The class of each pixel: uint8 (H, W), indices into `card.classes`."""
        return self.card.transform.labels(*self._output(image))

    def _output(self, image: ImageData | Picture, looks: int = 1) -> tuple[NDArray[np.float32], tuple[int, int]]:
        """What the network puts out for a picture, (C, h, w), and the picture's size."""
        if looks not in range(1, len(_FLIPS) + 1):
            raise ValueError(f"looks is 1 to {len(_FLIPS)}, got {looks}")
        picture = image if isinstance(image, Picture) else load_image(image)
        seen, flips = self._see(picture), _FLIPS[:looks]
        outputs = self.backend(np.stack([np.flip(seen, axes) for axes in flips]))
        _check_output(outputs, self.card, looks)
        turned = [np.flip(output, axes) for output, axes in zip(outputs, flips, strict=True)]
        return np.mean(turned, axis=0, dtype=np.float32) if looks > 1 else outputs[0], picture.size

    def _see(self, picture: Picture) -> NDArray[np.float32]:
        """What the network takes; colours are converted for the pixels alone that the Transform reads or makes."""
        transform = self.card.transform
        samples = transform.samples(picture.size)
        if samples is not None:
            return transform.preprocess(picture.at(*samples).view(), picture.size)
        if picture.alpha is None:
            picture = replace(picture, rgb=transform.shrink(picture.rgb))
        return transform.preprocess(picture.view())


def _closed(_batch: NDArray[np.float32]) -> NDArray[np.float32]:
    raise SessionClosed("the session is closed")


def _check_output(outputs: NDArray[np.float32], card: Card, looks: int) -> None:
    """Raise InvalidModel unless a backend gave finite maps for each look: one, or one for each class."""
    if outputs.ndim != 4 or len(outputs) != looks or outputs.size == 0:
        raise InvalidModel(f"{card.name} puts out the shape {outputs.shape}, not ({looks}, C, H, W)")
    if outputs.shape[1] not in (1, len(card.classes)):
        raise InvalidModel(f"{card.name} puts out {outputs.shape[1]} maps for {len(card.classes)} classes")
    if not np.isfinite(outputs).all():
        raise InvalidModel(f"{card.name} puts out values that are not finite")


EMPTY = 0.1
"""Below this a picture counts as one without a subject; of a hundred such three show one (docs/matting.md)."""

_SHARE = 100  # one pixel in so many is looked at, the surest
_CLIP = 1e-3  # probabilities are told apart down to here, and up to as near to 1
_SLOPE, _OFFSET = 1.6, -8.6  # of logit against logit; fitted on pictures of DUTS-TR


def subject_confidence(probabilities: NDArray[np.float32], sharpness: float = 1.0) -> float:
    """The probability that a picture shows a subject, 0 to 0.92, from the network's map of it.

    `sharpness` is what the map's logits were multiplied by after training, and are divided by here.
    `probabilities` is float32 (h, w) in [0, 1], as the network gave it: stretched to fill [0, 1], every map of noise
    has its subject. The mean of the surest hundredth is calibrated by a logistic fit for the packaged weights, on as
    many pictures with a subject as without; where subjects are the rule the chance is better than this says. That the
    six side maps agree with the fused one tells no more (docs/matting.md).
    """
    num = max(probabilities.size // _SHARE, 1)
    surest = np.partition(probabilities.ravel(), -num)[-num:].astype(np.float64)
    if sharpness != 1:
        subject, rest = surest ** (1 / sharpness), (1 - surest) ** (1 / sharpness)
        surest = subject / (subject + rest)
    clipped = min(max(float(surest.mean()), _CLIP), 1 - _CLIP)
    return 1 / (1 + math.exp(-(_SLOPE * math.log(clipped / (1 - clipped)) + _OFFSET)))
