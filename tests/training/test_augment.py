import io
import math
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.make_augmented import described
from pictures import PHOTOGRAPH
from PIL import Image
from scipy import ndimage
from torch.nn.functional import interpolate
from torch.utils._python_dispatch import TorchDispatchMode

from u2net.training import appearance, augment, framing, sampling
from u2net.training.examples import Key, generator

TO_DEVICE = sampling.to_device
CHANGES = [change for _, change in augment._APPEARANCE]
LEVELS = {"cells": 2.0, "deviations": 0.3, "share": 0.05, "middling": 0.5, "fine": 0.25}
"""How far each description may be off besides: the grain of noise is another."""
GOLDEN = Path(__file__).parents[1] / "golden" / "augmented.npz"


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


def _augmented(image: torch.Tensor, mask: torch.Tensor, kind: str, crop: int, rng: np.random.Generator, **options):
    """A batch of one."""
    images, masks = augment.augment(image[None], mask[None], kind, crop, [rng], **options)
    return images[0], masks[0]


# ---- Batches -------------------------------------------------------------------------------------------------


def test_pictures_are_varied_as_each_was_by_itself_before_there_were_batches():
    recorded = np.load(GOLDEN)
    for name, found in described().items():
        np.testing.assert_allclose(found, recorded[name], rtol=0.03, atol=LEVELS[name], err_msg=name)


@pytest.mark.parametrize("kind", ["paper", "modern"])
@pytest.mark.parametrize("classes", [False, True])
def test_a_picture_is_varied_in_a_batch_as_it_is_alone(monkeypatch, kind, classes):
    quiet = tuple(row for row in augment._APPEARANCE if row[1] is not appearance.add_noise)
    monkeypatch.setattr(augment, "_APPEARANCE", quiet)  # the grain of noise is drawn for all at once
    images = torch.stack([_photograph((96, 96)), *[_photograph((96, 96)).flip(axis) for axis in (0, 1, 2)]] * 6)
    masks = torch.stack([_disc(96), *[_disc(96).flip(axis) for axis in (0, 1, 2)]] * 6)
    together = augment.augment(images, masks, kind, 80, [_rng(seed) for seed in range(24)], classes=classes)
    for seed in range(24):
        alone = _augmented(images[seed], masks[seed], kind, 80, _rng(seed), classes=classes)
        for one, other in zip(alone, (together[0][seed], together[1][seed]), strict=True):
            assert (one.int() - other.int()).abs().float().mean() < 0.01


FREE = {
    *("view", "_unsafe_view", "expand", "permute", "transpose", "select", "slice", "unsqueeze", "squeeze", "unbind"),
    *("split", "alias", "detach", "as_strided", "empty", "empty_like", "new_empty", "empty_strided", "lift_fresh"),
}
"""Operations that give a GPU nothing to do: views, and room for results."""


class _Launches(TorchDispatchMode):
    """Counts operations that a GPU would be told to do, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return sum(num for name, num in self.names.items() if name not in FREE)


def _num_launches(num: int, monkeypatch) -> int:
    """With numbers that are sent to the device: each would be a copy."""
    sent = []
    for module in (sampling, augment, appearance):
        monkeypatch.setattr(module, "to_device", lambda *given: (sent.append(1), TO_DEVICE(*given))[1])
    images, masks = (each.expand(num, -1, -1, -1).contiguous() for each in (_photograph(), _disc()))
    subjects = augment.find_subjects(masks)
    rngs = [_rng(seed) for seed in range(num)]
    with _Launches() as launches:
        augment.augment(images, masks, "modern", 288, rngs, subjects)
    return launches.total + len(sent)


def test_a_batch_takes_few_operations(monkeypatch):
    _num_launches(8, monkeypatch)  # makes what is made once
    assert 100 < _num_launches(64, monkeypatch) <= 300


def test_the_number_of_operations_does_not_depend_on_the_batch(monkeypatch):
    # Every variation for some pictures, and none for all: which of them come is the only difference otherwise.
    chances = [(0.5, vary) for _, vary in augment._GEOMETRY if vary.__name__ != "leave_subject_out"]
    monkeypatch.setattr(augment, "_GEOMETRY", tuple(chances))
    monkeypatch.setattr(augment, "_APPEARANCE", tuple((0.5, change) for change in CHANGES))
    _num_launches(64, monkeypatch)  # makes what is made once
    assert _num_launches(16, monkeypatch) == _num_launches(64, monkeypatch) <= 300


# ---- Kinds ---------------------------------------------------------------------------------------------------


def test_without_augmentation_the_middle_is_taken():
    image, mask = _coordinates(10)
    image, mask = _augmented(image, mask, "none", 6, _rng())
    assert image[0, :, 0].tolist() == mask[0, 0].tolist() == [2, 3, 4, 5, 6, 7]


def test_without_augmentation_a_crop_as_large_as_the_picture_is_the_picture():
    image, mask = _coordinates(10)
    same = _augmented(image, mask, "none", 10, _rng())
    assert torch.equal(same[0], image)
    assert torch.equal(same[1], mask)


def test_the_papers_augmentation_reaches_every_offset_and_every_flip():
    seen = set()
    for seed in range(600):
        image, mask = _augmented(*_coordinates(6), "paper", 4, _rng(seed))
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
        image, mask = _augmented(_photograph((80, 80)), _disc(80), kind, 72, _rng(seed))
        assert (image.shape, image.dtype) == ((3, 72, 72), torch.uint8)
        assert (mask.shape, mask.dtype) == ((1, 72, 72), torch.uint8)


@pytest.mark.parametrize("kind", ["paper", "modern"])
def test_equal_generators_vary_equally_and_others_otherwise(kind):
    one, same, other = (_augmented(_photograph(), _disc(), kind, 288, _rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kind", ["none", "paper", "modern"])
def test_what_is_given_is_not_changed(kind):
    image, mask = _photograph(), _disc()
    before = image.clone(), mask.clone()
    for seed in range(20):
        _augmented(image, mask, kind, 288, _rng(seed))
    assert torch.equal(image, before[0])
    assert torch.equal(mask, before[1])


def test_the_random_state_of_the_run_is_not_touched():
    before = torch.get_rng_state()
    for seed in range(40):
        _augmented(_photograph((64, 64)), _disc(64), "modern", 48, _rng(seed))
    assert torch.equal(torch.get_rng_state(), before)


def test_picture_and_mask_go_together(monkeypatch):
    monkeypatch.setattr(augment, "_GEOMETRY", ((0.5, framing.mirror),))
    monkeypatch.setattr(augment, "_APPEARANCE", ())
    mask = _disc()
    for seed in range(30):
        image, varied = _augmented(mask.expand(3, -1, -1), mask, "modern", 288, _rng(seed))
        seen, expected = image[0] > 127, varied[0] > 127
        assert (seen & expected).sum() > 0.99 * (seen | expected).sum()


def test_indices_are_never_mixed():
    mask = _disc(80, subject=7)
    mask[:, 50:, :] = 255
    for seed in range(60):
        _, varied = _augmented(_photograph((80, 80)), mask, "modern", 72, _rng(seed), classes=True, anywhere=True)
        assert set(varied.unique().tolist()) <= {0, 7, 255}


def test_soft_masks_stay_soft():
    values = _augmented(_photograph(), _disc(), "modern", 288, _rng(2))[1].unique()
    assert len(values) > 50


def test_some_pictures_have_no_subject_and_most_do(monkeypatch):
    monkeypatch.setattr(augment, "_APPEARANCE", ())  # changes no mask
    images, masks = _photograph((64, 64)).expand(1000, -1, -1, -1), _disc(64).expand(1000, -1, -1, -1)
    _, varied = augment.augment(images, masks, "modern", 48, [_rng(seed) for seed in range(1000)])
    num_empty = sum(not mask.any() for mask in varied)
    assert 2 <= num_empty <= 20


# ---- Appearance ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [30, 60, 90, 95])
def test_compression_loses_what_jpeg_loses(quality):
    original = _photograph((250, 199))
    buffer = io.BytesIO()
    Image.fromarray(original.numpy().transpose(1, 2, 0)).save(buffer, "JPEG", quality=quality)
    pillows = torch.from_numpy(np.asarray(Image.open(buffer)).transpose(2, 0, 1).copy()).float()
    _, ours = appearance.compressed(original.float().expand(2, -1, -1, -1), [5, quality])
    assert _psnr(ours, pillows) > 40
    assert _psnr(ours, pillows) > _psnr(original.float(), pillows) + 5
    assert abs(_psnr(ours, original) - _psnr(pillows, original)) < 0.3


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.0])
def test_blur_is_scipys(sigma):
    image = _photograph((64, 48)).float()
    radius = math.ceil(3 * sigma)
    expected = ndimage.gaussian_filter(image.numpy(), sigma, mode="nearest", radius=radius, axes=(1, 2))
    _, ours = appearance.blurred(image.expand(2, -1, -1, -1), [1.5, sigma])
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_noise_has_no_bias_and_the_deviation_it_says():
    grey = torch.full((40, 3, 96, 96), 128.0)
    noises = appearance.add_noise(grey, [_rng(seed) for seed in range(40)]) - grey
    deviations = []
    for noise in noises:
        assert abs(float(noise.mean())) < 0.5
        deviations.append(float(noise.std()))
    assert 0.9 < min(deviations) < max(deviations) < 12.5


def test_noise_is_the_same_in_all_channels_every_other_time_and_another_for_each_picture():
    grey = torch.full((40, 3, 32, 32), 128.0)
    noises = appearance.add_noise(grey, [_rng(seed) for seed in range(40)]) - grey
    num_grey = sum(torch.equal(noise[0], noise[1]) and torch.equal(noise[0], noise[2]) for noise in noises)
    assert 10 < num_grey < 30
    patterns = torch.cat([noise.view(3, -1) / noise.view(3, -1).norm(dim=1, keepdim=True) for noise in noises])
    alike = (patterns @ patterns.T > 0.5).sum(1)
    assert set(alike.tolist()) == {1, 3}


@pytest.mark.parametrize("shape", [(64, 64), (37, 50)])
def test_lost_resolution_is_interpolates(shape, monkeypatch):
    image = _photograph(shape[::-1]).float()
    for kernel, options in sampled_by.items():
        monkeypatch.setattr(appearance, "choose_kernel", lambda _, kernel=kernel: kernel)
        for seed in range(4):
            rng = _rng(seed)
            factor, is_cubic = rng.uniform(1, 2.5), rng.random() < 0.5
            small = interpolate(image[None], [round(length / factor) for length in shape], **options)
            expected = interpolate(small, shape, mode="bicubic" if is_cubic else "bilinear")[0]
            (ours,) = appearance.lose_resolution(image[None], [_rng(seed)])
            inside = (slice(None), slice(5, -5), slice(5, -5))  # at its edge an aliased cubic is another
            np.testing.assert_allclose(ours[inside], expected[inside], atol=0.02)


sampled_by = {
    "aliased": {"mode": "bilinear"},
    "bilinear": {"mode": "bilinear", "antialias": True},
    "bicubic": {"mode": "bicubic", "antialias": True},
    "area": {"mode": "area"},
}


def test_greys_stay_greys_but_for_the_white_balance():
    grey = torch.full((3, 4, 4), 120.0)
    for seed in range(40):
        shifted = appearance.shift_colours(grey[None], [_rng(seed)])[0, :, 0, 0] - 127.5
        shifted = shifted[:, None] - shifted
        assert shifted.abs().max() < 0.2 * 1.3 * 120 + 1e-3


def test_without_colours_the_channels_are_equal():
    red, green, blue = appearance.drop_colours(_photograph().float()[None], [_rng()])[0]
    assert torch.equal(red, green)
    assert torch.equal(red, blue)


def test_gamma_keeps_black_and_white():
    levels = torch.tensor([0.0, 255.0]).expand(3, 1, 2)
    np.testing.assert_allclose(appearance.bend_levels(levels[None], [_rng()])[0], levels)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("shape", [(288, 288), (37, 50)])
def test_every_change_keeps_the_shape_and_what_can_be_seen(change, shape):
    image = _photograph(shape[::-1]).float()
    for seed in range(10):
        (changed,) = change(image[None].clone(), [_rng(seed)])
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
    images, masks = torch.zeros(100, 3, 16, 16, dtype=torch.uint8), torch.zeros(100, 1, 16, 16, dtype=torch.uint8)
    for start in range(0, 3000, 100):  # the rarest comes three times in a thousand
        augment.augment(images, masks, "modern", 8, [_rng(seed) for seed in range(start, start + 100)])
        if len(seen) == len(rows):
            break
    assert seen == {vary for _, vary in rows}


@pytest.mark.gpu
def test_a_gpu_varies_as_a_cpu_does(monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    changes = tuple(row for row in augment._APPEARANCE if row[1] is not appearance.add_noise)
    monkeypatch.setattr(augment, "_APPEARANCE", changes)
    images, masks = (each.expand(30, -1, -1, -1) for each in (_photograph(), _disc()))
    on_cpu, on_gpu = (
        augment.augment(images.to(device), masks.to(device), "modern", 288, [_rng(seed) for seed in range(30)])
        for device in ("cpu", "cuda")
    )
    for one, other in zip(on_cpu, on_gpu, strict=True):
        difference = (one.int() - other.cpu().int()).abs().float()
        assert difference.mean((1, 2, 3)).max() < 0.2
