import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import PHOTOGRAPH
from PIL import Image
from scipy import ndimage
from torch.nn.functional import interpolate

from u2net.training import augment, framing
from u2net.training.examples import Key, generator
from u2net.training.framing import Bounds, Frame, Subject
from u2net.training.sampling import along_columns, along_rows, resizing, sample

NOWHERE = Subject(None, None)
INTERPOLATED = {
    "nearest": {"mode": "nearest-exact"},
    "aliased": {"mode": "bilinear"},
    "bilinear": {"mode": "bilinear", "antialias": True},
    "bicubic": {"mode": "bicubic", "antialias": True},
    "area": {"mode": "area"},
}


def _rng(seed: int = 0) -> np.random.Generator:
    return generator(seed, Key(0, 0, 0))


def _pairs(height: int = 96, width: int = 96, subject: int = 255) -> torch.Tensor:
    """One pair, float32 (1, 4, H, W): the photograph, and a disc."""
    with Image.open(PHOTOGRAPH) as photograph:
        image = np.array(photograph.convert("RGB").resize((width, height)))
    y, x = np.mgrid[:height, :width]
    mask = (np.hypot(x - width * 0.45, y - height * 0.55) < min(height, width) * 0.3) * np.uint8(subject)
    return torch.from_numpy(np.dstack([image, mask]).transpose(2, 0, 1).copy()).float()[None]


def _frame(pairs: torch.Tensor) -> Frame:
    """All of a picture."""
    whole = Bounds(0, pairs.shape[2], 0, pairs.shape[3])
    return Frame(whole, augment.find_subjects(pairs[:, 3:].byte())[0], box=whole, kernel="aliased")


@pytest.mark.parametrize("kernel", INTERPOLATED)
@pytest.mark.parametrize(
    ("length", "new_length"), [(40, 40), (50, 40), (31, 40), (97, 40), (40, 39), (7, 40), (80, 40)]
)
def test_each_kernel_is_interpolates(kernel, length, new_length):
    image = _pairs(length, length)
    taps = resizing([kernel], [length], [new_length], new_length, torch.device("cpu"))
    ours = along_columns(along_rows(image, taps), taps)
    expected = interpolate(image, (new_length, new_length), **INTERPOLATED[kernel])
    np.testing.assert_allclose(ours, expected, atol=0.01)


def test_pictures_of_one_batch_are_resized_each_in_its_own_way():
    image = _pairs(60, 60).expand(5, -1, -1, -1)
    lengths, new_lengths = [60, 60, 50, 44, 60], [40, 39, 40, 40, 20]
    taps = resizing(list(INTERPOLATED), lengths, new_lengths, 40, torch.device("cpu"))
    ours = along_columns(along_rows(image, taps), taps)
    for number, (kernel, length, new) in enumerate(zip(INTERPOLATED, lengths, new_lengths, strict=True)):
        expected = interpolate(image[:1, :, :length, :length], (new, new), **INTERPOLATED[kernel])
        np.testing.assert_allclose(ours[number, :, :new, :new], expected[0], atol=0.01)


def test_a_mirrored_picture_is_flipped():
    pairs = _pairs()
    np.testing.assert_allclose(sample(pairs, [framing.mirror(_frame(pairs), _rng())], 96, classes=False), pairs.flip(3))


@pytest.mark.parametrize("degrees", [0, 7, -10])
def test_turning_is_scipys_rotation_mirrored_beyond_the_border(degrees):
    pairs = _pairs()
    frame = replace(_frame(pairs), kernel=None, angle=math.radians(degrees))
    expected = ndimage.rotate(pairs[0].numpy(), degrees, axes=(1, 2), reshape=False, order=1, mode="reflect")
    np.testing.assert_allclose(sample(pairs, [frame], 96, classes=False)[0], expected, atol=0.2)


@pytest.mark.parametrize("kernel", [None, "aliased"])
def test_taking_a_part_is_cutting_it_out_of_the_whole(kernel):
    pairs = _pairs()
    frame = replace(_frame(pairs), box=Bounds(8, 72, 20, 84), kernel=kernel)
    np.testing.assert_allclose(sample(pairs, [frame], 64, classes=False), pairs[:, :, 8:72, 20:84], atol=0.1)


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("kernel", [None, "aliased"])
@pytest.mark.parametrize("colour", [None, (10.0, 20.0, 30.0)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_margins_have_one_colour_and_no_subject_or_repeat_the_edge(kernel, colour, mirrored, classes):
    pairs = _pairs(64, 64)
    region = Bounds(10, 64, 0, 50)
    whole, margins = Bounds(0, 70, 0, 70), Bounds(7, 9, 12, 8)
    frame = Frame(region, NOWHERE, mirrored=mirrored, margins=margins, colour=colour, box=whole, kernel=kernel)
    taken = (pairs[0].flip(2) if mirrored else pairs[0])[:, 10:64, 0:50].numpy()
    around = [(7, 9), (12, 8)]
    if colour is None:
        expected = np.pad(taken, [(0, 0), *around], "edge")
    else:
        levels = zip(taken, (*colour, 0), strict=True)
        expected = np.stack([np.pad(channel, around, constant_values=level) for channel, level in levels])
    np.testing.assert_allclose(sample(pairs, [frame], 70, classes=classes)[0], expected, atol=0.02)


def test_turned_margins_are_those_of_the_whole_picture_turned():
    pairs = _pairs(64, 64)
    margins, colour, angle = Bounds(3, 5, 6, 2), (10.0, 20.0, 30.0), math.radians(9)
    whole = Bounds(0, 72, 0, 72)
    frame = Frame(Bounds(0, 64, 0, 64), NOWHERE, margins=margins, colour=colour, box=whole, angle=angle)
    bordered = sample(pairs, [replace(frame, kernel="aliased", angle=0.0)], 72, classes=False)
    expected = sample(bordered, [Frame(whole, NOWHERE, box=whole, angle=angle)], 72, classes=False)
    np.testing.assert_allclose(sample(pairs, [frame], 72, classes=False), expected, atol=0.02)


def test_indices_are_taken_from_the_nearest_pixel_however_they_are_taken():
    pairs = _pairs(80, 80, subject=7)
    pairs[:, 3, 50:] = 255
    frames = [augment.draw_frame(_rng(seed), (80, 80), NOWHERE, True) for seed in range(200)]
    taken = sample(pairs.expand(200, -1, -1, -1), frames, 72, classes=True)
    assert set(taken[:, 3].unique().tolist()) == {0, 7, 255}
