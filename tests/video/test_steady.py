"""Maps that are joined along the motion of the picture."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from u2net.video import steady
from u2net.video.steady import AHEAD, Seen, looked_at, motion, small_picture, steadied

from .films import disc


def colored(grey: np.ndarray) -> np.ndarray:
    """A grey picture, (S, S), as Y, Cb and Cr."""
    return np.stack([grey, np.full_like(grey, 0.5), np.full_like(grey, 0.5)])


def joined(outputs: list[np.ndarray], greys: list[np.ndarray], looked: list[int] | None = None) -> list[np.ndarray]:
    """The outputs, steadied; `looked` gets the frames that the network looked at."""
    looked = [] if looked is None else looked

    def look(number: int):
        looked.append(number)
        return lambda: outputs[number]

    glances = [Seen(i, colored(grey)) for i, grey in enumerate(greys)]
    found = list(steadied(looked_at(glances, look), 1.0))
    assert [number for number, _ in found] == list(range(len(outputs)))
    return [output for _, output in found]


def texture(seed: int = 0) -> np.ndarray:
    """A grey picture with something everywhere, larger than the small ones, to be cut from."""
    coarse = np.random.default_rng(seed).uniform(0, 1, (32, 32)).astype(np.float32)
    return coarse.repeat(10, 0).repeat(10, 1)


def test_motion_is_found():
    whole = texture()
    # It moved 6 down and 8 to the left.
    flow, alike = motion(colored(whole[50:210, 50:210]), colored(whole[44:204, 58:218]))
    assert np.median(flow[0]) == 6
    assert np.median(flow[1]) == -8
    assert np.median(alike) > 0.9


def test_what_does_not_look_alike_counts_for_nothing():
    _, alike = motion(colored(texture(0)[:160, :160]), colored(texture(1)[:160, :160]))
    assert alike.mean() < 0.3


def test_flicker_of_a_still_film_goes():
    random = np.random.default_rng(0)
    truth = np.zeros((1, 64, 64), np.float32)
    truth[:, 16:48, 16:48] = 1
    outputs = [np.clip(truth + random.normal(0, 0.2, truth.shape), 0, 1).astype(np.float32) for _ in range(12)]
    found = joined(outputs, [texture()[:160, :160]] * 12)
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
    for found, output in zip(joined(outputs, greys), outputs, strict=True):
        assert ((found > 0.5) ^ (output > 0.5)).mean() < 0.01


def test_nothing_is_joined_across_a_cut():
    dark, bright = np.zeros((160, 160), np.float32), np.ones((160, 160), np.float32)
    outputs = [np.full((1, 8, 8), value, np.float32) for value in (0, 0, 0, 1, 1, 1)]
    found = joined(outputs, [dark] * 3 + [bright] * 3)
    assert [output.mean() for output in found] == [0, 0, 0, 1, 1, 1]


def test_the_network_looks_at_every_second_frame_where_it_can_be_followed_and_at_all_others():
    still, looked = [texture()[:160, :160]] * 7, []
    joined([np.zeros((1, 8, 8), np.float32)] * 7, still, looked)
    assert looked == [0, 2, 4, 6]
    changing, looked = [texture(seed)[:160, :160] for seed in range(5)], []
    joined([np.zeros((1, 8, 8), np.float32)] * 5, changing, looked)
    assert looked == [0, 1, 2, 3, 4]
    cuts, looked = [np.full((160, 160), value, np.float32) for value in (0, 0, 1, 1, 0)], []
    joined([np.zeros((1, 8, 8), np.float32)] * 5, cuts, looked)
    assert looked == [0, 2, 4]


def test_a_frame_in_which_a_small_thing_appears_is_looked_at():
    greys, looked = [np.full((160, 160), 0.5, np.float32) for _ in range(6)], []
    greys[3][72:88, 72:88] = 1  # across four parts
    joined([np.zeros((1, 8, 8), np.float32)] * 6, greys, looked)
    assert 3 in looked


@pytest.mark.parametrize("nums", [(3,), (4,), (3, 4, 5)])
def test_a_thing_of_the_greys_around_it_is_seen_by_its_colour(nums):
    """As red on a lawn, for a frame or three."""
    lawn, disc_on_lawn = Image.new("RGB", (213, 160), (90, 120, 90)), Image.new("RGB", (213, 160), (90, 120, 90))
    ImageDraw.Draw(disc_on_lawn).ellipse((88, 62, 124, 98), (220, 40, 40))
    shown = [disc_on_lawn if i in nums else lawn for i in range(9)]
    outputs = [(np.asarray(image.resize((80, 80)))[None, :, :, 0] > 127).astype(np.float32) for image in shown]
    glances = [Seen(i, small_picture(image)) for i, image in enumerate(shown)]
    for i, found in steadied(looked_at(glances, lambda i: lambda: outputs[i]), 1.0):
        assert ((found > 0.5) ^ (outputs[i] > 0.5)).mean() < 0.01


def test_a_place_that_no_neighbour_knows_gets_a_number(monkeypatch):
    monkeypatch.setattr(steady, "_FOLLOWED", 1.0)
    outputs = [np.full((1, 8, 8), 0.5, np.float32)] * 3
    greys = [np.full((160, 160), 0.5, np.float32) for _ in range(3)]
    greys[1][60:100, 60:100] = 1  # nothing of this is in the others
    looked = []
    np.testing.assert_allclose(joined(outputs, greys, looked), outputs, rtol=1e-5)
    assert looked == [0, 2]


@pytest.mark.parametrize("num", [1, 2, 3, 4, 9])
def test_all_frames_come_and_a_few_are_waited_for(num):
    begun = 0

    def source():
        nonlocal begun
        for number in range(num):
            begun += 1
            yield Seen(number, small_picture(disc(0)))

    found = steadied(looked_at(source(), lambda _: lambda: np.zeros((1, 4, 4), np.float32)), 0.5)
    for i in range(num):
        assert next(found)[0] == i
        assert begun <= i + 1 + AHEAD
    assert next(found, None) is None
