import numpy as np
import pytest
from pictures import ROOT

from u2net.cutout.matting import areas
from u2net.cutout.matting.foreground import foreground

GOLDEN = ROOT / "tests/golden" / "pymatting.npz"


def _disc(shape, softness=12.0):
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(y - shape[0] / 2, x - shape[1] / 2)
    return (255 * np.clip((min(shape) / 3 - distance) / softness + 0.5, 0, 1)).round().astype(np.uint8)


def _mixture(alpha, subject, ground):
    weight = alpha[:, :, None] / 255
    return (weight * subject + (1 - weight) * ground).round().astype(np.uint8)


def _error(one, other, where):
    return np.square((one.astype(float) - other)[where] / 255).mean()


def test_colours_are_near_pymattings():
    with np.load(GOLDEN) as file:
        image, alpha, expected = file["image"], file["alpha"], file["foreground"]
    mixed = (alpha > 0) & (alpha < 255)
    assert _error(foreground(image, alpha), expected, mixed) < 1e-3 < _error(image, expected, mixed)


@pytest.mark.parametrize("shape", [(64, 64), (63, 101), (200, 37), (600, 40)])
def test_one_coloured_subject_on_one_coloured_ground_is_told_from_it(shape):
    alpha = _disc(shape)
    found = foreground(_mixture(alpha, (200, 150, 40), (10, 60, 220)), alpha)
    seen = (alpha > 64) & (alpha < 255)
    assert np.abs(found[seen].astype(int) - (200, 150, 40)).max() <= 6


def test_colours_change_only_where_alpha_is_mixed():
    alpha = _disc((50, 60))
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    pure = (alpha == 0) | (alpha == 255)
    assert (foreground(image, alpha)[pure] == image[pure]).all()


@pytest.mark.parametrize("level", [0, 255])
def test_without_mixed_alpha_nothing_changes(level):
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert (foreground(image, np.full((5, 6), level, dtype=np.uint8)) == image).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (17, 1)])
def test_mixed_alpha_alone_gives_the_picture_back(shape):
    """With no pixel of either kind to learn from, subject and ground are taken to look alike."""
    image = np.full((*shape, 3), 90, dtype=np.uint8)
    assert (foreground(image, np.full(shape, 128, dtype=np.uint8)) == image).all()


def test_tiles_leave_no_seam(monkeypatch):
    alpha = _disc((160, 160), 40.0)
    y, x = np.mgrid[:160, :160]
    subject = np.stack([200 + 0 * x, 100 + 0.5 * x, 40 + 0.5 * y], axis=2)
    image = _mixture(alpha, subject, (20, 30, 200))
    whole = foreground(image, alpha).astype(int)
    monkeypatch.setattr(areas, "_ROWS", 32)
    monkeypatch.setattr(areas, "_COLUMNS", 32)
    assert np.abs(foreground(image, alpha) - whole).max() <= 1


def test_the_given_picture_is_not_changed():
    alpha = _disc((40, 40))
    image = _mixture(alpha, (200, 150, 40), (10, 60, 220))
    before = image.copy()
    foreground(image, alpha)
    assert (image == before).all()


@pytest.mark.parametrize(("image", "alpha"), [((4, 4), (4, 4)), ((4, 4, 4), (4, 4)), ((4, 4, 3), (4, 5))])
def test_shapes_that_do_not_fit_are_refused(image, alpha):
    with pytest.raises(ValueError, match="its alpha"):
        foreground(np.zeros(image, dtype=np.uint8), np.zeros(alpha, dtype=np.uint8))
