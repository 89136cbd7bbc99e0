"""Maps that are joined along the motion of the picture."""

import numpy as np
import pytest

from u2net.video.steady import AHEAD, Look, motion, small_grey, steadied

from .films import disc


def looks(outputs: list[np.ndarray], greys: list[np.ndarray]) -> list[Look[int]]:
    return [Look(i, output, grey) for i, (output, grey) in enumerate(zip(outputs, greys, strict=True))]


def texture(seed: int = 0) -> np.ndarray:
    """A grey picture with something everywhere, larger than the small ones, to be cut from."""
    coarse = np.random.default_rng(seed).uniform(0, 1, (32, 32)).astype(np.float32)
    return coarse.repeat(10, 0).repeat(10, 1)


def test_motion_is_found():
    whole = texture()
    flow, alike = motion(whole[50:210, 50:210], whole[44:204, 58:218])  # it moved 6 down and 8 to the left
    assert np.median(flow[0]) == 6
    assert np.median(flow[1]) == -8
    assert np.median(alike) > 0.9


def test_what_does_not_look_alike_counts_for_nothing():
    _, alike = motion(texture(0)[:160, :160], texture(1)[:160, :160])
    assert alike.mean() < 0.3


def test_flicker_of_a_still_film_goes():
    random = np.random.default_rng(0)
    truth = np.zeros((1, 64, 64), np.float32)
    truth[:, 16:48, 16:48] = 1
    outputs = [np.clip(truth + random.normal(0, 0.2, truth.shape), 0, 1).astype(np.float32) for _ in range(12)]
    found = [look.output for look in steadied(looks(outputs, [texture()[:160, :160]] * 12), 1.0)]
    before, after = (np.abs(np.diff(np.array(maps), axis=0)).mean() for maps in (outputs, found))
    assert after < 0.4 * before


def test_outlines_go_with_the_picture():
    """A square that moves with its texture is not smeared."""
    whole, outputs, greys = texture(), [], []
    for i in range(8):
        grey = np.full((160, 160), 0.5, np.float32)
        grey[40:100, 20 + 6 * i : 80 + 6 * i] = whole[40:100, 20:80]
        output = np.zeros((1, 160, 160), np.float32)
        output[0, 40:100, 20 + 6 * i : 80 + 6 * i] = 1
        outputs.append(output)
        greys.append(grey)
    for look, output in zip(steadied(looks(outputs, greys), 1.0), outputs, strict=True):
        assert ((look.output > 0.5) ^ (output > 0.5)).mean() < 0.01


def test_nothing_is_joined_across_a_cut():
    dark, bright = np.zeros((160, 160), np.float32), np.ones((160, 160), np.float32)
    outputs = [np.full((1, 8, 8), value, np.float32) for value in (0, 0, 0, 1, 1, 1)]
    found = list(steadied(looks(outputs, [dark] * 3 + [bright] * 3), 1.0))
    assert [look.output.mean() for look in found] == [0, 0, 0, 1, 1, 1]
    assert [look.item for look in found] == list(range(6))


@pytest.mark.parametrize("num", [1, 2, 3, 4, 9])
def test_all_frames_come_and_a_few_are_waited_for(num):
    begun = 0

    def source():
        nonlocal begun
        for look in looks([np.zeros((1, 4, 4), np.float32)] * num, [small_grey(disc(0))] * num):
            begun += 1
            yield look

    found = steadied(source(), 0.5)
    for i in range(num):
        assert next(found).item == i
        assert begun <= i + 1 + AHEAD
    assert next(found, None) is None
