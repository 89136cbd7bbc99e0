import numpy as np
import pytest
from pictures import ROOT
from PIL import Image, ImageFilter

from u2net.cutout.matting import refine as refining
from u2net.cutout.matting.refine import refine
from u2net.images.picture import to_8_bits, to_16_bits

GOLDEN = ROOT / "tests/golden" / "pymatting.npz"
QUALITIES = ["fast", "balanced"]


def _coarse(alpha, pixels):
    """What a network that sees every so many pixels might make of a true alpha."""
    picture = Image.fromarray(alpha)
    small = picture.resize((alpha.shape[1] // pixels, alpha.shape[0] // pixels), Image.Resampling.BOX)
    return np.asarray(small.filter(ImageFilter.BoxBlur(0.7)).resize(picture.size, Image.Resampling.BILINEAR))


def _scene(shape=(360, 480)):
    """A star over a slope of colours, and its true alpha."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    angle = np.arctan2(y - shape[0] / 2, x - shape[1] / 2)
    reach = min(shape) * (0.3 + 0.1 * np.sin(9 * angle))
    alpha = np.clip(reach - np.hypot(y - shape[0] / 2, x - shape[1] / 2) + 0.5, 0, 1)
    ground = np.stack([60 + x / 8, 70 + y / 8, 90 + 0 * x], axis=2)
    mixed = alpha[:, :, None] * (225, 190, 120) + (1 - alpha[:, :, None]) * ground
    noise = np.random.default_rng(0).normal(0, 2, mixed.shape)
    return (mixed + noise).clip(0, 255).astype(np.uint8), (alpha * 255).round().astype(np.uint8)


def _all_around(mask):
    """Pixels that have nothing else within ten."""
    return np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MinFilter(21))) > 0


def _error(alpha, truth):
    return np.abs(alpha.astype(float) - truth).sum() / 255


@pytest.mark.parametrize(("quality", "share"), [("fast", 0.7), ("balanced", 0.35)])
def test_a_coarse_outline_comes_nearer_to_the_true_one(quality, share):
    image, truth = _scene()
    mask = _coarse(truth, 6)
    assert _error(refine(image, mask, quality), truth) < share * _error(mask, truth)


@pytest.mark.parametrize("quality", QUALITIES)
def test_what_is_certain_is_kept(quality):
    image, truth = _scene()
    noisy = np.random.default_rng(1).integers(0, 256, image.shape, dtype=np.uint8)
    mask = _coarse(truth, 6)
    alpha = refine(noisy, mask, quality)
    subject, ground = (_all_around(mask > 252), _all_around(mask < 3))
    assert subject.any()
    assert ground.any()
    assert (alpha[subject] == 255).all()
    assert (alpha[ground] == 0).all()


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("quality", QUALITIES)
def test_a_mask_that_is_certain_everywhere_stays(quality, level):
    image, truth = _scene((60, 80))
    assert (refine(image, np.full(truth.shape, level, dtype=np.uint8), quality) == level).all()


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_certain_mask_needs_not_be_at_its_end(quality):
    image, truth = _scene((60, 80))
    assert (refine(image, np.full(truth.shape, 252, dtype=np.uint8), quality) == 255).all()


@pytest.mark.parametrize("quality", QUALITIES)
def test_one_colour_leaves_the_mask_its_shape(quality):
    y, x = np.mgrid[:360, :480]
    mask = _coarse(np.where(np.hypot(y - 180, x - 240) < 110, 255, 0).astype(np.uint8), 6)
    alpha = refine(np.full((*mask.shape, 3), 80, dtype=np.uint8), mask, quality)
    differ = (alpha >= 128) != (mask >= 128)
    assert np.count_nonzero(differ) < 0.01 * np.count_nonzero(mask)


def test_a_spot_of_the_grounds_colour_makes_no_hole():
    """It lies where the mask is not certain, and looks like the background, but the mask knows of no hole."""
    image, truth = _scene()
    mask = _coarse(truth, 6).copy()
    spot = np.s_[170:190, 230:250]
    mask[150:210, 210:270] = 210
    image[spot] = image[5, 5]
    assert refine(image, mask, "balanced")[spot].min() >= 128


def test_a_spot_of_the_subjects_colour_makes_no_speck():
    image, truth = _scene()
    mask = _coarse(truth, 6).copy()
    spot = np.s_[20:32, 20:32]
    mask[10:42, 10:42] = 40
    image[spot] = (225, 190, 120)
    assert refine(image, mask, "balanced")[spot].max() < 128


@pytest.mark.parametrize("in_16", [False, True])
@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("quality", QUALITIES)
def test_an_antenna_stays_and_a_speck_goes(quality, scale, in_16):
    """The mask has a faint trace of both; the antenna grows from the subject, and is a faint line too."""
    truth = np.zeros((240, 320), dtype=np.uint8)
    truth[80:160, 100:200] = 255
    truth[119:121, 200:290] = 90
    truth[30:36, 40:46] = 90
    ground = np.random.default_rng(0).normal(60, 2, (*truth.shape, 3))
    image = (ground + truth[:, :, None] / 255 * (200 - ground)).astype(np.uint8)
    mask = np.asarray(Image.fromarray(truth).filter(ImageFilter.GaussianBlur(2)))
    image, mask = (np.asarray(Image.fromarray(each).resize((320 * scale, 240 * scale))) for each in (image, mask))
    alpha = to_8_bits(refine(image, mask, quality, to_16_bits(image) if in_16 else None))
    antenna = alpha[119 * scale : 121 * scale, 205 * scale : 280 * scale]
    # At four times the size its outermost pixels are fainter with "balanced", and the rest stronger.
    assert (antenna > (8 if (quality, scale) == ("balanced", 4) else 10)).all()
    assert antenna.mean() > 20
    assert not alpha[: 70 * scale, : 80 * scale].any()


def test_where_all_is_faint_nothing_is_a_speck():
    image, truth = _scene()
    faint = (_coarse(truth, 6) // 3).astype(np.uint8)
    assert refine(image, faint, "fast")[180, 240] > 50


def test_strands_are_found_as_closed_form_finds_them():
    """The mask is coarse; the alpha is that of pymatting by a trimap around the strands."""
    with np.load(GOLDEN) as file:
        image, truth = file["image"], file["alpha"]
    mask = _coarse(truth, 6)
    assert _error(refine(image, mask), truth) < 0.6 * _error(mask, truth)


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 3), (9, 700)])
def test_odd_shapes_are_no_trouble(shape, quality):
    random = np.random.default_rng(0)
    image, mask = random.integers(0, 256, (*shape, 3), dtype=np.uint8), random.integers(0, 256, shape, dtype=np.uint8)
    alpha = refine(image, mask, quality)
    assert alpha.shape == shape
    assert alpha.dtype == np.uint8


@pytest.mark.parametrize("quality", QUALITIES)
def test_of_8_bits_16_make_the_same_alpha_more_finely(quality):
    image, truth = _scene()
    mask = _coarse(truth, 6)
    alpha = refine(image, mask, quality, to_16_bits(image))
    assert np.abs(to_8_bits(alpha).astype(int) - refine(image, mask, quality)).max() <= 1
    assert len(np.unique(alpha)) > 1000


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_mask_may_be_smaller_than_its_picture(quality):
    image, truth = _scene((720, 960))
    mask = _coarse(truth, 12)
    small = np.asarray(Image.fromarray(mask).resize((480, 360), Image.Resampling.BOX))
    difference = np.abs(refine(image, mask, quality).astype(int) - refine(image, small, quality))
    assert difference.mean() < 0.5


def test_some_pixels_of_a_large_picture_tell_as_much_as_all(monkeypatch):
    y, x = np.mgrid[:1600, :3200].astype(np.float32)
    inside = 600 - np.hypot(x - 1600, y - 800)
    noise = np.random.default_rng(0).normal(0, 6, (*inside.shape, 3))
    image = (60 + 120 * (inside / 4 + 0.5).clip(0, 1)[:, :, None] + noise).round().clip(0, 255).astype(np.uint8)
    mask = (255 * (inside / 60 + 0.5).clip(0, 1)).astype(np.uint8)
    found = refine(image, mask, "fast").astype(int)
    monkeypatch.setattr(refining, "_SAMPLES", None)
    assert np.abs(found - refine(image, mask, "fast")).mean() < 0.09  # with 4 × 4 in place of 8 × 8 it is .11


def test_nothing_given_is_changed():
    image, truth = _scene((90, 120))
    mask = _coarse(truth, 6).copy()
    before = image.copy(), mask.copy()
    refine(image, mask)
    assert (image == before[0]).all()
    assert (mask == before[1]).all()


def test_an_unknown_quality_is_refused():
    with pytest.raises(ValueError, match=r"^quality is one of fast, balanced, got 'superb'$"):
        refine(np.zeros((4, 4, 3), dtype=np.uint8), np.zeros((4, 4), dtype=np.uint8), "superb")


@pytest.mark.parametrize(("image", "mask"), [((4, 4), (4, 4)), ((4, 4, 4), (4, 4)), ((4, 4, 3), (4, 5))])
def test_shapes_that_do_not_fit_are_refused(image, mask):
    with pytest.raises(ValueError, match="its mask"):
        refine(np.zeros(image, dtype=np.uint8), np.zeros(mask, dtype=np.uint8))
