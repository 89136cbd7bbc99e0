"""How sure the network is that there is a subject at all."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

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
