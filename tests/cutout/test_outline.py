"""Cut-outs are those that were recorded, whatever the processor; what each constant decides shows."""

import numpy as np
import pytest
from golden.make_cutouts import GOLDEN, session_of

from u2net import remove


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


def _cut_out(recorded: dict[str, np.ndarray], quality: str, **options: int) -> np.ndarray:
    return remove(recorded["image"], session=session_of(recorded["outputs"]), quality=quality, **options)


def _differences(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Mean and largest, in levels of 256."""
    differences = np.abs(one.astype(float) - other)
    return differences.mean(), differences.max()


@pytest.mark.parametrize("quality", ["coarse", "fast", "balanced", "best"])
def test_each_quality_gives_the_recorded_alpha(recorded, quality):
    mean, most = _differences(_cut_out(recorded, quality)[..., 3], recorded[f"{quality} alpha"])
    assert mean <= 0.01
    assert most <= 2


@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_in_16_bits_too(recorded, quality):
    mean, most = _differences(_cut_out(recorded, quality, bit_depth=16)[..., 3] / 257, recorded[f"{quality} alpha"])
    assert mean <= 0.05  # what is rounded away of 8 bits
    assert most <= 2


@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_all_qualities_but_coarse_give_the_recorded_colours(recorded, quality):
    alpha = recorded[f"{quality} alpha"]
    mixed = _cut_out(recorded, quality)[(alpha > 0) & (alpha < 255), :3]
    mean, most = _differences(mixed, recorded[f"{quality} colors"])
    assert mean <= 0.05
    assert most <= 6


def test_coarse_keeps_the_pictures_colours(recorded):
    cutout = _cut_out(recorded, "coarse")
    seen = cutout[..., 3] > 0
    np.testing.assert_array_equal(cutout[seen, :3], recorded["image"][seen])
