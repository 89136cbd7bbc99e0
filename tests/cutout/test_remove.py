import inspect
import io
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest
from pictures import read_image
from PIL import Image, ImageCms

import u2net
from u2net import Session, new_session, remove
from u2net.cutout import remove as background
from u2net.cutout.config import Quality
from u2net.cutout.matting.alpha_matting import alpha_matte
from u2net.cutout.matting.foreground import foreground
from u2net.errors import ImageTooLarge, InvalidImage, InvalidModel, UnknownModel
from u2net.images.limits import LIMITS
from u2net.images.load import load_image
from u2net.models.card import Card
from u2net.models.transform import REMBG, Transform


@pytest.fixture(scope="module")
def image(photograph) -> Image.Image:
    return read_image(photograph).convert("RGB")


def test_the_parameters_are_rembgs_in_rembgs_order():
    """rembg 2.0.86; its further keyword `putalpha` comes after them."""
    parameters = inspect.signature(remove).parameters
    assert {name: p.default for name, p in list(parameters.items())[1:13]} == {
        "alpha_matting": False,
        "alpha_matting_foreground_threshold": 240,
        "alpha_matting_background_threshold": 10,
        "alpha_matting_erode_size": 10,
        "session": None,
        "only_mask": False,
        "post_process_mask": False,
        "decontaminate": False,
        "vitmatte": False,
        "vitmatte_model": None,
        "bgcolor": None,
        "force_return_bytes": False,
    }
    assert next(iter(parameters)) == "data"


def test_bytes_give_png_bytes(photograph, packaged):
    result = remove(photograph.read_bytes(), session=packaged)
    decoded = Image.open(io.BytesIO(result))
    assert (decoded.format, decoded.mode, decoded.size) == ("PNG", "RGBA", (600, 400))


def test_a_pil_image_gives_a_pil_image(image, packaged):
    result = remove(image, session=packaged)
    assert isinstance(result, Image.Image)
    assert (result.mode, result.size) == ("RGBA", image.size)


def test_an_array_gives_an_array(image, packaged):
    result = remove(np.asarray(image), session=packaged)
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype) == ((400, 600, 4), np.uint8)


def test_a_path_gives_a_pil_image(photograph, packaged):
    assert remove(photograph, session=packaged).size == (600, 400)


@pytest.mark.parametrize("kind", ["pil", "array", "path"])
def test_bytes_can_be_asked_for(kind, image, photograph, packaged):
    data = {"pil": image, "array": np.asarray(image), "path": str(photograph)}[kind]
    assert remove(data, session=packaged, force_return_bytes=True).startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", [Image.Image.copy, np.array, load_image])
def test_what_is_given_is_not_changed(kind, image, packaged):
    given = kind(image)
    remove(given, session=packaged)
    np.testing.assert_array_equal(np.asarray(given.rgb if kind is load_image else given), np.asarray(image))


def test_only_the_mask(image, packaged):
    result = remove(image, session=packaged, only_mask=True, quality="coarse")
    assert result.mode == "L"
    np.testing.assert_array_equal(np.asarray(result), packaged.mask(image))


def test_the_cut_out_keeps_the_pictures_colours_and_takes_the_masks_alpha(image, packaged):
    cutout = np.asarray(remove(image, session=packaged, quality="coarse"))
    np.testing.assert_array_equal(cutout[..., 3], packaged.mask(image))
    visible = cutout[..., 3] > 0
    np.testing.assert_array_equal(cutout[visible, :3], np.asarray(image)[visible])


def test_putalpha_keeps_the_colours_of_the_background(image, packaged):
    cutout = np.asarray(remove(image, session=packaged, putalpha=True))
    np.testing.assert_array_equal(cutout[..., :3], np.asarray(image))


def test_post_processing_leaves_two_levels(image, packaged):
    mask = np.asarray(remove(image, session=packaged, only_mask=True, post_process_mask=True))
    assert set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize(("color", "corner"), [((255, 0, 255, 255), (255, 0, 255, 255)), ((1, 2, 3), (1, 2, 3, 255))])
def test_a_background_colour(image, packaged, color, corner):
    assert remove(image, session=packaged, bgcolor=color).getpixel((0, 0)) == corner


@pytest.mark.parametrize("color", [(0, 0), (1, 2, 3, 4, 5), (0, 0, 256, 255), (-1, 0, 0)])
def test_a_background_colour_out_of_range_is_refused(image, packaged, color):
    with pytest.raises(ValueError, match="bgcolor"):
        remove(image, session=packaged, bgcolor=color)


@pytest.mark.parametrize("parameter", [{"vitmatte": True}, {"vitmatte_model": "small"}])
def test_vitmatte_is_refused_in_one_line_and_never_ignored(image, parameter):
    with pytest.raises(ValueError, match=r"^vitmatte is not supported: [^\n]+$"):
        remove(image, **parameter)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"keep_colors": True, "decontaminate": True}, "keep_colors"),
        ({"quality": "great"}, "quality is one of coarse, fast, balanced, best"),
        ({"quality": "best", "alpha_matting": True}, "own way"),
        ({"alpha_matting": True, "alpha_matting_foreground_threshold": 256}, "foreground_threshold is 0 to 255"),
        ({"alpha_matting": True, "alpha_matting_background_threshold": -1}, "background_threshold is 0 to 255"),
        ({"alpha_matting": True, "alpha_matting_erode_size": 1001}, "erode_size is 0 to 1000"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(image, packaged, parameters, words):
    with pytest.raises(ValueError, match=words):
        remove(image, session=packaged, **parameters)


def test_alpha_matting_is_closed_form_by_rembgs_trimap_of_the_mask(image, packaged):
    pixels, mask = np.asarray(image), packaged.mask(image)
    alpha = alpha_matte(pixels, mask, foreground_threshold=200, background_threshold=40, erode_size=5)
    cutout = remove(
        pixels,
        alpha_matting=True,
        alpha_matting_foreground_threshold=200,
        alpha_matting_background_threshold=40,
        alpha_matting_erode_size=5,
        session=packaged,
    )
    np.testing.assert_array_equal(cutout[..., 3], alpha)
    np.testing.assert_array_equal(cutout[alpha > 0, :3], foreground(pixels, alpha)[alpha > 0])


def test_decontaminate_changes_the_colours_of_mixed_pixels_alone(image, packaged):
    plain = remove(np.asarray(image), session=packaged, quality="coarse")
    clean = remove(np.asarray(image), session=packaged, quality="coarse", decontaminate=True)
    np.testing.assert_array_equal(clean[..., 3], plain[..., 3])
    changed = (clean != plain).any(axis=2)
    assert changed.any()
    assert not changed[(plain[..., 3] == 0) | (plain[..., 3] == 255)].any()


@pytest.mark.parametrize("quality", [None, "fast", "balanced", "best"])
def test_all_qualities_but_coarse_clean_colours_unless_they_are_to_be_kept(image, packaged, quality):
    pixels = np.asarray(image)
    clean = remove(pixels, session=packaged, quality=quality)
    alpha = clean[..., 3]
    assert (clean[(alpha > 0) & (alpha < 255), :3] != pixels[(alpha > 0) & (alpha < 255)]).any()
    np.testing.assert_array_equal(clean, remove(pixels, session=packaged, quality=quality, decontaminate=True))
    everything = remove(pixels, session=packaged, quality=quality, decontaminate=True, putalpha=True)
    np.testing.assert_array_equal(everything[..., :3], pixels)
    kept = remove(pixels, session=packaged, quality=quality, keep_colors=True)
    np.testing.assert_array_equal(kept[..., 3], alpha)
    np.testing.assert_array_equal(kept[alpha > 0, :3], pixels[alpha > 0])


def test_colours_of_alpha_matting_can_be_kept(image, packaged):
    kept = remove(image, session=packaged, alpha_matting=True, keep_colors=True)
    seen = np.asarray(kept)[..., 3] > 0
    np.testing.assert_array_equal(np.asarray(kept)[seen, :3], np.asarray(image)[seen])


def test_each_quality_gives_another_alpha(image, packaged):
    alphas = {q: remove(image, session=packaged, only_mask=True, quality=q).tobytes() for q in get_args(Quality)}
    assert len(set(alphas.values())) == 4
    assert remove(image, session=packaged, only_mask=True).tobytes() == alphas["fast"]


def test_models_that_look_at_many_pixels_keep_their_own_outlines(image):
    """A refinement on 256 pixels would take from them what they saw on 1,024."""
    fine = Session(lambda batch: batch[:, :1], Card("fine", Transform(size=(1024, 1024), stretch=False)))
    np.testing.assert_array_equal(np.asarray(remove(image, session=fine, only_mask=True)), fine.mask(image))


@pytest.mark.parametrize(
    ("options", "num_looks"),
    [*(({"quality": q}, 2 if q == "best" else 1) for q in get_args(Quality)), ({"looks": 3}, 3)],
    ids=str,
)
def test_the_best_looks_twice_and_the_others_once_unless_asked_for_more(image, options, num_looks):
    looks = []

    def backend(batch):
        looks.extend(batch)
        return batch[:, :1]

    remove(image, session=Session(backend, Card("counting")), **options)
    assert len(looks) == num_looks


def test_unknown_parameters_are_refused(image):
    with pytest.raises(TypeError, match="cloth_categry"):
        remove(image, cloth_categry="upper")


def test_transparency_of_the_input_stays(image, packaged):
    half = image.copy()
    half.putalpha(Image.new("L", image.size, 128))
    opaque = np.asarray(remove(image, session=packaged))[..., 3]
    result = np.asarray(remove(half, session=packaged))
    assert result[..., 3].max() == 128
    assert opaque.max() == 255


@pytest.mark.parametrize("quality", ["coarse", "fast", "balanced"])
def test_16_bits_are_8_more_finely(image, u2netp, quality):
    deep = remove(image, session=u2netp, quality=quality, bit_depth=16)
    flat = np.asarray(remove(image, session=u2netp, quality=quality)).astype(int)
    assert (deep.dtype, deep.shape) == (np.uint16, (400, 600, 4))
    # A coarse mask is cut to 256 levels, then resized along rows, rounded, and along columns.
    assert np.abs(deep[..., 3] / 257 - flat[..., 3]).max() <= (2 if quality == "coarse" else 0.51)
    assert len(np.unique(deep[..., 3])) > 1000
    opaque = deep[..., 3] == 65_535
    np.testing.assert_array_equal(deep[opaque, :3], flat[opaque, :3] * 257)


def test_what_8_bits_make_transparent_is_so_in_16(image, packaged):
    deep = remove(image, session=packaged, quality="coarse", bit_depth=16)
    transparent = np.asarray(remove(image, session=packaged, quality="coarse"))[..., 3] == 0
    assert not deep[transparent, 3].any()
    assert not deep[380:, :100].any()


def test_a_hard_mask_of_16_bits_has_two_levels(image, packaged):
    deep = remove(image, session=packaged, post_process_mask=True, only_mask=True, bit_depth=16)
    flat = remove(image, session=packaged, post_process_mask=True, only_mask=True)
    np.testing.assert_array_equal(deep, np.asarray(flat).astype(np.uint16) * 257)


def test_bytes_give_a_tiff_file_of_16_bits_with_the_profile(image, packaged):
    buffer, profile = io.BytesIO(), _display_p3()
    image.save(buffer, "PNG", icc_profile=profile)
    for data, options in ((buffer.getvalue(), {}), (image, {"force_return_bytes": True})):
        content = remove(data, session=packaged, bit_depth=16, **options)
        written = Image.open(io.BytesIO(content))
        assert (written.format, written.mode, written.tag_v2[258]) == ("TIFF", "RGBA", (16, 16, 16, 16))
        assert written.info.get("icc_profile") == (None if data is image else profile)


def test_alpha_matting_and_a_background_in_16_bits(image, packaged):
    small = image.resize((150, 100))
    for parameters in ({"alpha_matting": True, "only_mask": True}, {"bgcolor": (0, 90, 200)}):
        deep = remove(small, session=packaged, bit_depth=16, **parameters)
        flat = np.asarray(remove(small, session=packaged, **parameters)).astype(int)
        assert np.abs(deep / 257 - flat).max() <= 2
        assert len(np.unique(deep)) > 1000


def test_there_are_8_bits_and_16(image, packaged):
    with pytest.raises(ValueError, match="bit_depth is one of 8, 16, got 12"):
        remove(image, session=packaged, bit_depth=12)


def test_the_profile_of_the_input_is_in_the_result(image, packaged):
    profile = _display_p3()
    buffer = io.BytesIO()
    image.save(buffer, "PNG", icc_profile=profile)
    result = Image.open(io.BytesIO(remove(buffer.getvalue(), session=packaged)))
    assert result.info["icc_profile"] == profile


def _display_p3() -> bytes:
    """A valid RGB profile that is not sRGB: sRGB's own with another red."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for tag in range(int.from_bytes(profile[128:132])):
        entry = 132 + 12 * tag
        if profile[entry : entry + 4] == b"rXYZ":
            start = int.from_bytes(profile[entry + 4 : entry + 8]) + 8
            red = [0.5151, 0.2412, -0.0011]  # Display P3's, adapted to D50
            profile[start : start + 12] = b"".join(round(v * 65536).to_bytes(4, signed=True) for v in red)
    return bytes(profile)


def test_what_is_no_picture_is_refused(packaged):
    for nonsense in (b"", b"nonsense", 7, None, object()):
        with pytest.raises(InvalidImage):
            remove(nonsense, session=packaged)


def test_many_threads_that_name_no_session_open_one(monkeypatch):
    monkeypatch.setattr(background, "_shared_sessions", {})
    tiny = np.zeros((2, 2, 3), np.uint8)
    opened = []

    def open_slowly(model):
        opened.append(time.sleep(0.05))
        return Session(lambda batch: batch[:, :1], Card("red"))

    monkeypatch.setattr(background, "new_session", open_slowly)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(remove, [tiny] * 32))
    assert len(opened) == 1


def test_the_default_model_is_packaged():
    assert new_session().card.name == "u2netp_distilled"
    assert u2net.MODELS["u2netp_distilled"].url is None


def test_a_model_by_path(tmp_path):
    path = tmp_path / "own.onnx"
    path.write_bytes(u2net.models.zoo.find("u2netp").read_bytes())
    assert new_session(path).card.name == "u2netp"
    assert new_session("u2net_custom", model_path=str(path)).card.name == "u2netp"


def test_weights_of_torch_by_path(tmp_path, photograph, u2netp):
    pytest.importorskip("torch")
    from u2net.net import load_checkpoint, save_checkpoint

    network, card = load_checkpoint(u2net.models.zoo.find("u2netp"))
    save_checkpoint(network, tmp_path / "own.safetensors", card)
    mask = new_session(tmp_path / "own.safetensors").mask(photograph)
    assert np.abs(mask.astype(int) - u2netp.mask(photograph)).max() <= 1


def test_another_feeding_changes_the_map(photograph, u2netp):
    mask = new_session("u2netp", transform=REMBG).mask(photograph)
    assert (mask != u2netp.mask(photograph)).any()


def test_unknown_models_are_refused():
    with pytest.raises(UnknownModel, match="u2netp"):
        new_session("u2nep")


def test_a_damaged_model_is_refused(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(u2net.models.zoo.find("u2netp").read_bytes()[:100_000])
    with pytest.raises(InvalidModel, match=r"broken\.onnx"):
        new_session(path)


def test_the_public_names_are_these():
    assert u2net.__all__ == ["MODELS", "Session", "Transform", "__version__", "evaluate", "new_session", "remove"]
    assert all(hasattr(u2net, name) for name in u2net.__all__)
    assert dir(u2net) == sorted(u2net.__all__)
    with pytest.raises(AttributeError, match="removal"):
        u2net.removal  # noqa: B018


# ---- rembg's names ---------------------------------------------------------------------------------------------


def test_modules_of_rembg_are_there_by_their_names():
    code = (
        "import u2net; print(u2net.bg.remove is u2net.remove, u2net.session_factory.new_session is u2net.new_session)"
    )
    for first in ("", "from u2net.bg import remove; from u2net.session_factory import new_session; "):
        result = subprocess.run([sys.executable, "-c", first + code], capture_output=True, text=True, check=True)
        assert result.stdout == "True True\n"


def test_a_session_may_be_a_name_and_is_opened_once(monkeypatch, image, u2netp):
    opened = []

    def note(model):
        opened.append(model)
        return u2netp

    monkeypatch.setattr(background, "_shared_sessions", {})
    monkeypatch.setattr(background, "new_session", note)
    masks = [remove(image, session="u2netp", only_mask=True).tobytes() for _ in range(2)]
    assert opened == ["u2netp"]
    assert masks == [remove(image, session=u2netp, only_mask=True).tobytes()] * 2


def test_a_name_that_is_no_model_is_told(image):
    with pytest.raises(UnknownModel, match="u2netq"):
        remove(image, session="u2netq")


def test_an_open_file_gives_what_its_bytes_give(photograph, packaged):
    expected = remove(photograph.read_bytes(), session=packaged)
    for buffering in (-1, 0):
        with photograph.open("rb", buffering=buffering) as file:
            assert remove(file, session=packaged) == expected
    assert remove(io.BytesIO(photograph.read_bytes()), session=packaged) == expected


def test_open_files_have_the_limits_of_bytes(packaged):
    with pytest.raises(ImageTooLarge):
        remove(io.BytesIO(bytes(LIMITS.max_bytes + 1)), session=packaged)


def test_a_file_that_is_open_as_text_is_told(photograph, packaged):
    with photograph.open(encoding="latin-1") as file, pytest.raises(InvalidImage, match="'rb'"):
        remove(file, session=packaged)


@pytest.mark.parametrize("color", [(255.0, 0.0, 0.0), [255, 0, 0, 255], np.array([255, 0, 0]), np.array([255.0, 0, 0])])
def test_colours_may_be_whole_floats_lists_and_arrays(image, packaged, color):
    found = remove(image, session=packaged, bgcolor=color)
    assert found == remove(image, session=packaged, bgcolor=(255, 0, 0))


@pytest.mark.parametrize(
    ("color", "line"),
    [
        ((0.5, 0.5, 0.5), "whole numbers"),
        ((1.0, 1.0, 1.0), "not from 0 to 1"),
        ((1.0, 0.0, 0.0, 1.0), "not from 0 to 1"),
    ],
)
def test_colours_from_0_to_1_are_told(image, packaged, color, line):
    with pytest.raises(ValueError, match=line):
        remove(image, session=packaged, bgcolor=color)
