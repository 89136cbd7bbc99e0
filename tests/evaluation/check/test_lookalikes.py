import io

import numpy as np
import pytest
from pictures import read_image
from PIL import Image, ImageEnhance
from planted import picture

from u2net.evaluation.check.lookalikes import Lookalike, find_lookalikes, phash, to_thumbnail

FLIP = Image.Transpose.FLIP_LEFT_RIGHT


def _bits(code: np.uint64) -> np.ndarray:
    return np.array([int(bit) for bit in f"{int(code):064b}"]).reshape(8, 8)


def test_the_hash_of_waves_is_which_of_them_are_strong():
    # 64 waves, weak and strong like the squares of a chessboard, summed by the definition of the cosine transform.
    strong = 1 - np.indices((8, 8)).sum(axis=0) % 2
    y, x = np.mgrid[0:32, 0:32] + 0.5
    waves = sum(
        (1 if strong[v, u] else -1) * np.cos(np.pi * y * v / 32) * np.cos(np.pi * x * u / 32)
        for v in range(8)
        for u in range(8)
    )
    thumbnail = np.rint(128 + 100 * waves / np.abs(waves).max()).astype(np.uint8)
    np.testing.assert_array_equal(_bits(phash(thumbnail)), strong)


def test_the_hash_is_that_of_scipys_cosine_transform(photograph):
    fft = pytest.importorskip("scipy.fft")
    thumbnail = to_thumbnail(read_image(photograph))
    low = fft.dctn(thumbnail.astype(float), type=2)[:8, :8]
    np.testing.assert_array_equal(_bits(phash(thumbnail)), low > np.median(low))


def test_a_thumbnail_is_the_mean_of_each_piece():
    levels = np.random.default_rng(0).integers(0, 256, (64, 128), np.uint8)
    means = levels.reshape(32, 2, 32, 4).mean(axis=(1, 3))
    assert np.abs(to_thumbnail(Image.fromarray(levels)) - means).max() <= 1


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=20)
    return Image.open(buffer)


COPIES = {
    "jpeg": _jpeg,
    "smaller": lambda image: image.resize((40, 30)),
    "stretched": lambda image: image.resize((64, 200)),
    "grey": lambda image: image.convert("L"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "flatter": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_copies_are_found_among_other_pictures(copy, mirrored):
    others = [to_thumbnail(picture(seed)) for seed in range(20)]
    copied = COPIES[copy](picture(7))
    copied = copied.transpose(FLIP) if mirrored else copied
    assert find_lookalikes([to_thumbnail(copied)], others) == [Lookalike(0, 7, mirrored)]


def test_within_one_set_the_later_one_is_found():
    thumbnails = [to_thumbnail(picture(seed)) for seed in (1, 2, 3, 2, 1)]
    assert find_lookalikes(thumbnails) == [Lookalike(3, 1, False), Lookalike(4, 0, False)]


def test_hundreds_of_equal_pictures_are_each_found_once():
    found = find_lookalikes([to_thumbnail(picture(1))] * 300)
    assert [one.index for one in found] == list(range(1, 300))


def test_different_pictures_are_not_alike():
    assert find_lookalikes([to_thumbnail(picture(seed)) for seed in range(200)]) == []


def test_pictures_of_one_form_and_another_grain_are_not_alike(photograph):
    """Their hashes, which know coarse waves alone, are the same; half of what varies is not."""
    thumbnail = to_thumbnail(read_image(photograph)) // 2 + 64
    grain = (-1) ** np.indices(thumbnail.shape).sum(axis=0) * thumbnail.std()
    other = np.rint(thumbnail + grain).clip(0, 255).astype(np.uint8)
    assert np.corrcoef(thumbnail.ravel(), other.ravel())[0, 1] == pytest.approx(0.7, abs=0.05)
    assert np.bitwise_count(phash(thumbnail) ^ phash(other)) <= 2
    assert find_lookalikes([thumbnail, other]) == []


def test_pictures_of_one_level_are_like_nothing():
    assert find_lookalikes([np.full((32, 32), level, np.uint8) for level in (0, 0, 90, 255)]) == []
