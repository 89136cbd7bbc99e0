import numpy as np
import pytest
from PIL import Image

from u2net.cutout.matting import areas as module
from u2net.cutout.matting.areas import Area


def _areas(mask):
    return Area.of(mask.shape, lambda box: mask[box])


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (300, 5), (290, 1100)])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 1.0])
def test_each_pixel_of_a_mask_comes_once(shape, share):
    mask = np.random.default_rng(0).random(shape) < share
    seen = np.zeros(shape, dtype=np.uint8)
    for area in _areas(mask):
        area.put(seen, seen[area.box] + np.uint8(1))
    np.testing.assert_array_equal(seen, mask)


def test_areas_hold_their_pixels_closely():
    mask = np.zeros((400, 2000), dtype=bool)
    mask[150:160, 300:310] = mask[155, 1700:1705] = True
    assert [area.box[1] for area in _areas(mask)] == [slice(300, 310), slice(1700, 1705)]


@pytest.mark.parametrize("kind", ["RGB", np.uint8, np.uint16])
def test_colours_are_taken_and_put(kind):
    random = np.random.default_rng(0)
    array = random.integers(0, 256, (200, 300, 3), dtype=np.uint8 if kind == "RGB" else kind)
    mask = random.random((200, 300)) < 0.1
    image = Image.fromarray(array) if kind == "RGB" else array.copy()
    for area in _areas(mask):
        area.change_colors(image, lambda colors: 255 - colors)
    np.testing.assert_array_equal(np.asarray(image), np.where(mask[:, :, None], 255 - array, array))


@pytest.mark.parametrize("shape", [(1, 1), (17, 31), (20, 31), (1, 7), (6, 1), (6, 9)])
def test_maps_are_smooth_between_their_areas(shape):
    """As Pillow enlarges them, bilinearly; if picked and by more than twelve times, to within half a block."""
    maps = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    expected = np.stack(
        [np.asarray(Image.fromarray(one).resize((310, 200), Image.Resampling.BILINEAR)) for one in maps]
    )
    scales = [200 / shape[0], 310 / shape[1]]
    off = sum((int(scale / 8 + 0.5) - 1) / 2 / scale for scale in scales if 12 < scale < 200)
    for area in _areas(np.random.default_rng(1).random((200, 310)) < 0.5):
        near = expected[:, *area.box]
        np.testing.assert_allclose(area.smooth(maps), near, atol=1e-5)
        np.testing.assert_allclose(area.smooth_picked(maps), near[:, area.mask], atol=1e-5 + off)


@pytest.mark.parametrize("shape", [(9, 12), (3, 4)])
def test_areas_join_without_a_seam(monkeypatch, shape):
    maps, found = np.random.default_rng(0).random((1, *shape), dtype=np.float32), []
    for rows, columns in ((128, 512), (7, 11)):
        monkeypatch.setattr(module, "_ROWS", rows)
        monkeypatch.setattr(module, "_COLUMNS", columns)
        whole, picked = np.zeros((2, 70, 90), dtype=np.float32)
        for area in _areas(np.ones((70, 90), dtype=bool)):
            area.put(whole, area.smooth(maps)[0])
            picked[area.box][area.mask] = area.smooth_picked(maps)[0]
        found.append(np.stack([whole, picked]))
    np.testing.assert_allclose(*found, atol=1e-6)
