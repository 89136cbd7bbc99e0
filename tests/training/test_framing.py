from dataclasses import replace

import numpy as np
import torch

from u2net.training import augment, framing
from u2net.training.examples import Key, generator
from u2net.training.framing import Bounds, Frame
from u2net.training.sampling import sample


def _rng(seed: int = 0) -> np.random.Generator:
    return generator(seed, Key(0, 0, 0))


def _mask(subject: Bounds, shape: tuple[int, int] = (100, 120)) -> torch.Tensor:
    mask = torch.zeros((1, 1, *shape), dtype=torch.uint8)
    mask[..., subject.top : subject.bottom, subject.left : subject.right] = 255
    return mask


def _frame(mask: torch.Tensor) -> Frame:
    """All of a picture with this mask."""
    whole = Bounds(0, mask.shape[2], 0, mask.shape[3])
    return Frame(whole, augment.find_subjects(mask)[0], box=whole, kernel="aliased")


def _taken(mask: torch.Tensor, frame: Frame, crop: int = 100) -> torch.Tensor:
    """The mask of what a frame takes, (crop, crop)."""
    return sample(mask.expand(-1, 4, -1, -1).float(), [frame], crop, classes=False)[0, 3]


def test_subjects_are_found_faint_and_clear():
    mask = _mask(Bounds(20, 40, 30, 90))
    mask[0, 0, 15, 10] = 1
    mask[0, 0, 60, 50] = 128
    empty, faint = torch.zeros_like(mask), torch.full_like(mask, 127)
    found = augment.find_subjects(torch.cat((mask, empty, faint)))
    assert found[0] == (Bounds(15, 61, 10, 90), Bounds(20, 61, 30, 90))
    assert found[1] == (None, None)
    assert found[2] == (Bounds(0, 100, 0, 120), None)


def test_where_the_subject_is_is_known_after_every_variation():
    variations = (framing.mirror, framing.add_border, framing.mirror, framing.leave_subject_out)
    for seed in range(60):
        rng = _rng(seed)
        tops, lefts = rng.integers(0, 40, 2) * rng.integers(0, 2, 2)
        subject = Bounds(int(tops), int(rng.integers(50, 101)), int(lefts), int(rng.integers(50, 101)))
        mask = _mask(subject, (100, 100))
        frame = _frame(mask)
        for vary in variations[: 1 + seed % 2]:
            frame = vary(frame, rng)
        height, width = frame.shape
        side = max(height, width)
        taken = _taken(mask, replace(frame, box=Bounds(0, height, 0, width)), side)
        (found,) = augment.find_subjects(taken[None, None].round().byte())
        assert frame.subject.clear is not None
        assert found.clear is not None
        expected = np.array(frame.subject.clear) * np.repeat([side / height, side / width], 2)
        np.testing.assert_allclose(found.clear, expected, atol=1.5)


def test_a_subject_that_leaves_a_third_free_is_left_out():
    mask = _mask(Bounds(5, 25, 10, 50), (60, 60))
    frame = framing.leave_subject_out(_frame(mask), _rng())
    assert frame.region == Bounds(25, 60, 0, 60)
    assert frame.subject == (None, None)
    assert not _taken(mask, replace(frame, box=Bounds(0, 35, 0, 60))).any()


def test_a_mirrored_subject_is_left_out_too():
    mask = _mask(Bounds(0, 60, 0, 20), (60, 60))
    frame = framing.leave_subject_out(framing.mirror(_frame(mask), _rng()), _rng())
    assert frame.region == Bounds(0, 60, 0, 40)
    assert not _taken(mask, replace(frame, box=Bounds(0, 60, 0, 40))).any()


def test_a_subject_that_fills_the_picture_stays():
    frame = _frame(_mask(Bounds(0, 60, 0, 60), (60, 60)))
    assert framing.leave_subject_out(frame, _rng()) is frame


def test_a_made_up_background_has_no_subject_and_is_a_picture():
    frames = [framing.make_up_background(_frame(_mask(Bounds(9, 30, 9, 30))), _rng(seed)) for seed in range(20)]
    assert {frame.made_up.shape for frame in frames if frame.made_up is not None} == {(3, n, n) for n in (1, 2, 5)}
    made = augment._new_backgrounds(frames, torch.full((20, 4, 48, 64), 255.0))
    assert not made[:, 3].any()
    assert made.shape == (20, 4, 48, 64)
    assert 0 <= made.min() <= made.max() <= 255
    for frame, picture in zip(frames, made, strict=True):
        assert frame.subject == (None, None)
        assert (picture[0].max() - picture[0].min() < 0.01) == (frame.made_up.shape == (3, 1, 1))


def test_borders_have_a_colour_every_other_time():
    frames = [framing.add_border(_frame(_mask(Bounds(9, 30, 9, 30))), _rng(seed)) for seed in range(60)]
    assert 15 < sum(frame.colour is not None for frame in frames) < 45
    assert all(max(frame.margins[:2]) <= 25 and max(frame.margins[2:]) <= 30 for frame in frames)


def test_a_part_holds_the_whole_subject_and_some_of_what_is_around_it():
    mask = _mask(Bounds(40, 60, 20, 80))
    shares = []
    for seed in range(60):
        part = _taken(mask, framing.choose_box(_frame(mask), _rng(seed), anywhere=False), 96)
        inside = (part > 127).float()
        shares.append(float(inside.mean()))
        # A line of the part without subject on each side; those that are turned may touch its corners.
        assert not inside[0].all()
        assert not inside[:, 0].all()
    whole, tightest = 20 * 60 / (100 * 120), 20 * 60 / ((20 + 80 / 4) * (60 + 60 / 4))
    assert 0.9 * whole < min(shares) < 1.5 * whole
    assert 0.6 * tightest < max(shares) < 1.1 * tightest


def test_of_indices_a_part_may_lie_anywhere():
    mask = _mask(Bounds(0, 8, 0, 8), (90, 90))
    frames = [framing.choose_box(_frame(mask), _rng(seed), anywhere=True) for seed in range(60)]
    assert any(not _taken(mask, frame, 64).any() for frame in frames)
