import io
import math
from functools import cache

import numpy as np
import pytest
import torch
from pictures import PHOTOGRAPH
from PIL import Image
from scipy import ndimage

from u2net.training import appearance, augment
from u2net.training.examples import Key, generator

CHANGES = [change for _, change in augment._APPEARANCE]


def _rng(seed: int = 0) -> np.random.Generator:
    return generator(seed, Key(0, 0, 0))


def _photograph(size: tuple[int, int] = (320, 320)) -> torch.Tensor:
    return torch.from_numpy(_pixels(size).transpose(2, 0, 1).copy())


@cache
def _pixels(size: tuple[int, int]) -> np.ndarray:
    with Image.open(PHOTOGRAPH) as image:
        return np.asarray(image.convert("RGB").resize(size))


def _coordinates(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture that tells each pixel's row and column, and a mask that tells its column."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    image = torch.stack([rows, columns, rows + columns]).byte()
    return image, image[1:2].clone()


def _disc(side: int = 320, subject: int = 255) -> torch.Tensor:
    y, x = np.mgrid[:side, :side]
    inside = np.hypot(x - side * 0.45, y - side * 0.55) < side * 0.3
    return torch.from_numpy(inside.astype(np.uint8) * np.uint8(subject))[None]


def _psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return 10 * math.log10(255**2 / float(((one - other) ** 2).mean()))


# ---- Kinds ---------------------------------------------------------------------------------------------------


def test_without_augmentation_the_middle_is_taken():
    image, mask = _coordinates(10)
    image, mask = augment.augment(image, mask, "none", 6, _rng())
    assert image[0, :, 0].tolist() == mask[0, 0].tolist() == [2, 3, 4, 5, 6, 7]


def test_without_augmentation_a_crop_as_large_as_the_picture_is_the_picture():
    image, mask = _coordinates(10)
    same = augment.augment(image, mask, "none", 10, _rng())
    assert torch.equal(same[0], image)
    assert torch.equal(same[1], mask)


def test_the_papers_augmentation_reaches_every_offset_and_every_flip():
    seen = set()
    for seed in range(600):
        image, mask = augment.augment(*_coordinates(6), "paper", 4, _rng(seed))
        assert torch.equal(image[1:2], mask)
        rows, columns = image[0, :, 0].tolist(), image[1, 0].tolist()
        for line in (rows, columns):
            step = line[1] - line[0]
            assert line == list(range(line[0], line[0] + 4 * step, step))
        seen.add((min(rows), min(columns), rows[0] < rows[1], columns[0] < columns[1]))
    assert len(seen) == 3 * 3 * 2 * 2


@pytest.mark.parametrize("kind", ["none", "paper", "modern"])
def test_results_are_of_the_cropped_size(kind):
    for seed in range(30):
        image, mask = augment.augment(_photograph((80, 80)), _disc(80), kind, 72, _rng(seed))
        assert (image.shape, image.dtype) == ((3, 72, 72), torch.uint8)
        assert (mask.shape, mask.dtype) == ((1, 72, 72), torch.uint8)


@pytest.mark.parametrize("kind", ["paper", "modern"])
def test_equal_generators_vary_equally_and_others_otherwise(kind):
    one, same, other = (augment.augment(_photograph(), _disc(), kind, 288, _rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kind", ["none", "paper", "modern"])
def test_what_is_given_is_not_changed(kind):
    image, mask = _photograph(), _disc()
    before = image.clone(), mask.clone()
    for seed in range(20):
        augment.augment(image, mask, kind, 288, _rng(seed))
    assert torch.equal(image, before[0])
    assert torch.equal(mask, before[1])


def test_the_random_state_of_the_run_is_not_touched():
    before = torch.get_rng_state()
    for seed in range(40):
        augment.augment(_photograph((64, 64)), _disc(64), "modern", 48, _rng(seed))
    assert torch.equal(torch.get_rng_state(), before)


def test_picture_and_mask_go_together(monkeypatch):
    monkeypatch.setattr(augment, "_GEOMETRY", ((0.5, augment.mirror),))
    monkeypatch.setattr(augment, "_APPEARANCE", ())
    mask = _disc()
    for seed in range(30):
        image, varied = augment.augment(mask.expand(3, -1, -1), mask, "modern", 288, _rng(seed))
        seen, expected = image[0] > 127, varied[0] > 127
        assert (seen & expected).sum() > 0.99 * (seen | expected).sum()


def test_indices_are_never_mixed():
    mask = _disc(80, subject=7)
    mask[:, 50:, :] = 255
    for seed in range(60):
        _, varied = augment.augment(_photograph((80, 80)), mask, "modern", 72, _rng(seed), classes=True, anywhere=True)
        assert set(varied.unique().tolist()) <= {0, 7, 255}


def test_soft_masks_stay_soft():
    values = augment.augment(_photograph(), _disc(), "modern", 288, _rng(2))[1].unique()
    assert len(values) > 50


def test_some_pictures_have_no_subject_and_most_do(monkeypatch):
    monkeypatch.setattr(augment, "_APPEARANCE", ())  # changes no mask
    pairs = (augment.augment(_photograph((64, 64)), _disc(64), "modern", 48, _rng(seed)) for seed in range(1000))
    num_empty = sum(not mask.any() for _, mask in pairs)
    assert 2 <= num_empty <= 20


# ---- Geometry ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 7, -10])
def test_turning_is_scipys_rotation_mirrored_beyond_the_border(degrees):
    image, mask = _photograph((96, 96)).float(), _disc(96)
    turned = augment.turned(image, mask, (0, 0, 96, 96), math.radians(degrees), 96, classes=False)
    expected = ndimage.rotate(image.numpy(), degrees, axes=(1, 2), reshape=False, order=1, mode="reflect")
    np.testing.assert_allclose(turned[0], expected, atol=0.2)
    expected_mask = ndimage.rotate(
        mask.numpy().astype(float), degrees, axes=(1, 2), reshape=False, order=1, mode="reflect"
    )
    np.testing.assert_allclose(turned[1], expected_mask, atol=1)


def test_turning_a_part_is_cutting_it_out_of_the_turned_whole():
    image, mask = _photograph((96, 96)).float(), _disc(96)
    part = augment.turned(image, mask, (8, 20, 64, 64), 0.0, 64, classes=False)
    np.testing.assert_allclose(part[0], image[:, 8:72, 20:84], atol=0.1)
    assert torch.equal(part[1], mask[:, 8:72, 20:84])


def test_a_border_of_one_colour_is_background_and_one_that_goes_on_is_whatever_was_there():
    image, mask = _photograph((64, 48)).float(), torch.full((1, 48, 64), 255, dtype=torch.uint8)
    num_flat = 0
    for seed in range(40):
        bordered, bordered_mask = augment.add_border(image, mask, _rng(seed))
        assert bordered.shape[1:] == bordered_mask.shape[1:]
        assert (bordered_mask == 255).sum() in (48 * 64, bordered_mask.numel())
        outside = bordered[:, bordered_mask[0] == 0]
        assert outside.numel() == 0 or (outside == outside[:, :1]).all()
        num_flat += outside.numel() > 0
    assert 5 < num_flat < 35


def test_a_subject_that_leaves_a_third_free_is_left_out():
    mask = torch.zeros((1, 60, 60), dtype=torch.uint8)
    mask[:, 5:25, 10:50] = 255
    image, left = augment.leave_subject_out(_photograph((60, 60)).float(), mask, _rng())
    assert not left.any()
    assert image.shape[1:] == left.shape[1:] == (35, 60)


def test_a_subject_that_fills_the_picture_stays():
    mask = torch.full((1, 60, 60), 255, dtype=torch.uint8)
    assert augment.leave_subject_out(_photograph((60, 60)).float(), mask, _rng())[1].all()


def test_a_made_up_background_has_no_subject_and_is_a_picture():
    for seed in range(20):
        image, mask = augment.make_up_background(_photograph((64, 48)).float(), _disc(64)[:, :48], _rng(seed))
        assert not mask.any()
        assert image.shape == (3, 48, 64)
        assert 0 <= image.min() <= image.max() <= 255


def test_a_part_holds_the_whole_subject_and_some_of_what_is_around_it():
    mask = torch.zeros((1, 100, 120), dtype=torch.uint8)
    mask[:, 40:60, 20:80] = 255
    image = mask.float().expand(3, -1, -1)
    shares = []
    for seed in range(60):
        _, part = augment.cut_to_size(image, mask, 96, _rng(seed), classes=False, anywhere=False)
        inside = (part[0] > 127).float()
        shares.append(float(inside.mean()))
        # A line of the part without subject on each side; those that are turned may touch its corners.
        assert not inside[0].all()
        assert not inside[:, 0].all()
    whole, tightest = 20 * 60 / (100 * 120), 20 * 60 / ((20 + 80 / 4) * (60 + 60 / 4))
    assert 0.9 * whole < min(shares) < 1.5 * whole
    assert 0.6 * tightest < max(shares) < 1.1 * tightest


def test_of_indices_a_part_may_lie_anywhere():
    mask = torch.zeros((1, 90, 90), dtype=torch.uint8)
    mask[:, :8, :8] = 1
    image = mask.float().expand(3, -1, -1)
    parts = [augment.cut_to_size(image, mask, 64, _rng(seed), classes=True, anywhere=True)[1] for seed in range(60)]
    assert any(not part.any() for part in parts)


# ---- Appearance ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [30, 60, 90, 95])
def test_compression_loses_what_jpeg_loses(quality):
    original = _photograph((250, 199))
    buffer = io.BytesIO()
    Image.fromarray(original.numpy().transpose(1, 2, 0)).save(buffer, "JPEG", quality=quality)
    pillows = torch.from_numpy(np.asarray(Image.open(buffer)).transpose(2, 0, 1).copy()).float()
    ours = appearance.compressed(original.float(), quality)
    assert _psnr(ours, pillows) > 40
    assert _psnr(ours, pillows) > _psnr(original.float(), pillows) + 5
    assert abs(_psnr(ours, original) - _psnr(pillows, original)) < 0.3


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.0])
def test_blur_is_scipys(sigma):
    image = _photograph((64, 48)).float()
    radius = math.ceil(3 * sigma)
    expected = ndimage.gaussian_filter(image.numpy(), sigma, mode="nearest", radius=radius, axes=(1, 2))
    np.testing.assert_allclose(appearance.blurred(image, sigma), expected, atol=1e-3)


def test_noise_has_no_bias_and_the_deviation_it_says():
    grey = torch.full((3, 96, 96), 128.0)
    deviations = []
    for seed in range(40):
        noise = appearance.add_noise(grey, _rng(seed)) - grey
        assert abs(float(noise.mean())) < 0.5
        deviations.append(float(noise.std()))
    assert 0.9 < min(deviations) < max(deviations) < 12.5


def test_greys_stay_greys_but_for_the_white_balance():
    grey = torch.full((3, 4, 4), 120.0)
    for seed in range(40):
        shifted = appearance.shift_colours(grey, _rng(seed))[:, 0, 0] - 127.5
        shifted = shifted[:, None] - shifted
        assert shifted.abs().max() < 0.2 * 1.3 * 120 + 1e-3


def test_without_colours_the_channels_are_equal():
    red, green, blue = appearance.drop_colours(_photograph().float(), _rng())
    assert torch.equal(red, green)
    assert torch.equal(red, blue)


def test_gamma_keeps_black_and_white():
    levels = torch.tensor([0.0, 255.0]).expand(3, 1, 2)
    np.testing.assert_allclose(appearance.bend_levels(levels, _rng()), levels)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("shape", [(288, 288), (37, 50)])
def test_every_change_keeps_the_shape_and_what_can_be_seen(change, shape):
    image = _photograph(shape[::-1]).float()
    for seed in range(10):
        changed = change(image.clone(), _rng(seed))
        assert changed.shape == image.shape
        assert changed.isfinite().all()
        grey, changed_grey = image.mean(0).ravel(), changed.mean(0).ravel()
        assert np.corrcoef(grey, changed_grey)[0, 1] > 0.85


@pytest.mark.parametrize("table", ["_GEOMETRY", "_APPEARANCE"])
def test_every_variation_is_seen_now_and_then(table, monkeypatch):
    seen = set()

    def noted(vary):
        def vary_and_note(*given):
            seen.add(vary)
            return vary(*given)

        return vary_and_note

    rows = getattr(augment, table)
    monkeypatch.setattr(augment, table, tuple((chance, noted(vary)) for chance, vary in rows))
    image, mask = torch.zeros(3, 16, 16, dtype=torch.uint8), torch.zeros(1, 16, 16, dtype=torch.uint8)
    for seed in range(3000):  # the rarest comes three times in a thousand
        augment.augment(image, mask, "modern", 8, _rng(seed))
        if len(seen) == len(rows):
            break
    assert seen == {vary for _, vary in rows}


@pytest.mark.gpu
def test_a_gpu_varies_as_a_cpu_does(monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    changes = tuple(row for row in augment._APPEARANCE if row[1] is not appearance.add_noise)
    monkeypatch.setattr(augment, "_APPEARANCE", changes)
    for seed in range(30):
        on_cpu = augment.augment(_photograph(), _disc(), "modern", 288, _rng(seed))
        on_gpu = augment.augment(_photograph().cuda(), _disc().cuda(), "modern", 288, _rng(seed))
        for one, other in zip(on_cpu, on_gpu, strict=True):
            difference = (one.int() - other.cpu().int()).abs().float()
            assert difference.mean() < 0.2
