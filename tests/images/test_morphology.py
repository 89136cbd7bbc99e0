import numpy as np
import pytest

from u2net.images.morphology import Parts


def _flooded(mask):
    """Parts one after the other, as sets of pixels, by walking from neighbour to neighbour."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    parts = []
    while left:
        reached, edge = set(), [min(left)]
        while edge:
            pixel = edge.pop()
            if pixel in left:
                left.remove(pixel)
                reached.add(pixel)
                y, x = pixel
                edge += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        parts.append(reached)
    return parts


@pytest.mark.parametrize("share", [0.2, 0.5, 0.6, 0.8])
@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (17, 1), (23, 31)])
def test_parts_are_those_of_a_flood_fill(share, shape):
    mask = np.random.default_rng(round(share * 10)).random(shape) < share
    parts, flooded = Parts.of(mask), _flooded(mask)
    assert parts.areas.tolist() == [len(part) for part in flooded]
    for index, pixels in enumerate(flooded):
        found = parts.where(np.arange(len(flooded)) == index)
        assert {(int(y), int(x)) for y, x in np.argwhere(found)} == pixels


def test_a_spiral_is_one_part():
    mask = np.zeros((41, 41), dtype=bool)
    y, x, (dy, dx) = 0, 0, (0, 1)
    for length in range(40, 0, -2):
        for _ in range(2):
            for _ in range(length):
                mask[y, x] = True
                y, x = y + dy, x + dx
            dy, dx = dx, -dy
    assert Parts.of(mask).areas.tolist() == [np.count_nonzero(mask)]


def test_corners_do_not_join():
    assert Parts.of(np.eye(4, dtype=bool)).areas.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("value", [False, True])
def test_a_constant_mask_has_one_part_or_none(value):
    mask = np.full((3, 4), value)
    parts = Parts.of(mask)
    assert parts.areas.tolist() == [12] * value
    assert (parts.where(np.ones(len(parts.areas), dtype=bool)) == mask).all()


def test_parts_that_touch_another_mask():
    mask = np.array([[1, 0, 1, 1], [1, 0, 0, 0], [0, 0, 1, 0]], dtype=bool)
    other = np.zeros_like(mask)
    other[0, 3] = other[2, 2] = other[1, 1] = True
    assert Parts.of(mask).touching(other).tolist() == [False, True, True]


def test_nothing_touches_when_there_is_nothing():
    assert Parts.of(np.zeros((2, 2), dtype=bool)).touching(np.ones((2, 2), dtype=bool)).tolist() == []
