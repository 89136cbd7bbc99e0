"""Pairs that the tests of several measures share."""

import numpy as np

from u2net.evaluation.metrics import Pair

# Of the mask's 8 pixels 6 are found, and 2 are found outside of it: precision and recall are 6/8.
TRUTH = 255 * np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]], dtype=np.uint8)
FOUND = 255 * np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0]], dtype=np.uint8)
PAIR = Pair(FOUND, TRUTH)


def results(measure, *pairs: Pair) -> dict[str, float]:
    for pair in pairs:
        measure.step(pair)
    return measure.results()


def random_pair(seed: int) -> Pair:
    """A mask of blocks and a noisy map of it, neither of which fills its range."""
    random = np.random.default_rng(seed)
    height, width = random.integers(8, 30, 2)
    truth = (random.random((8, 8)) < 0.4).repeat(4, 0).repeat(4, 1)[:height, :width]
    saliency = (60 * truth + random.integers(5, 180, truth.shape)).astype(np.uint8)
    return Pair(saliency, np.where(truth, 255, 0).astype(np.uint8))
