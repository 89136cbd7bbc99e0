import os
import stat
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from needs import FolderIsNoFile, needs_fifos, needs_permissions
from pictures import DISPLAY_P3, distance, photo, reopened, rgb_profile, saved
from PIL import ExifTags, Image

from u2net.errors import ImageTooLarge, InvalidImage, UnsupportedFormat
from u2net.images.load import load_image
from u2net.images.save import encode, same_kind, save_image


def cutout() -> Image.Image:
    image = photo().convert("RGBA")
    image.putalpha(photo().getchannel("R"))
    return image


def test_the_same_kind_comes_out_as_went_in(tmp_path):
    path = tmp_path / "photo.png"
    photo().save(path)
    content = path.read_bytes()
    for data in (content, bytearray(content), memoryview(content)):
        written = same_kind(data, cutout())
        assert isinstance(written, bytes)
        assert written.startswith(b"\x89PNG")
        assert reopened(written).copy() == cutout()
    for data in (path, str(path), photo()):
        assert same_kind(data, cutout()) == cutout()
    array = same_kind(np.asarray(photo()), cutout())
    assert (array == np.asarray(cutout())).all()
    array[:] = 0


def test_a_pil_image_comes_out_with_its_profile_and_nothing_else():
    image = cutout()
    image.info = {"comment": "at home"}
    assert same_kind(photo(), image, b"profile").info == {"icc_profile": b"profile"}
    assert same_kind(photo(), image).info == {}


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_alpha_is_written_exactly(kind):
    again = load_image(encode(cutout(), kind))
    assert again.alpha == cutout().getchannel("A")


def test_masks_are_written_in_every_format_without_a_profile_of_rgb():
    mask = photo().getchannel("R")
    for kind in ("png", "webp", "jpg", "avif", "tiff"):
        written = encode(mask, kind, rgb_profile(DISPLAY_P3))
        assert distance(load_image(written).rgb, mask.convert("RGB")) < 4
        assert load_image(written).icc_profile is None


def test_jpeg_refuses_transparency_in_one_line():
    with pytest.raises(InvalidImage, match=r"^JPEG has no transparency: give a background colour"):
        encode(cutout(), "jpg")


@pytest.mark.parametrize(("kind", "most"), [("webp", 16_383), ("jpg", 65_500)])
def test_sides_that_a_format_cannot_hold_are_refused(kind, most):
    assert encode(Image.new("RGB", (most, 1)), kind)
    with pytest.raises(ImageTooLarge, match=rf"holds {most:,} pixels a side, not {most + 1:,}: choose PNG"):
        encode(Image.new("RGB", (1, most + 1)), kind)


def test_encoding_does_not_touch_the_image():
    image = photo()
    image.info = {"comment": "mine"}
    encode(image, "jpg")
    assert image.info == {"comment": "mine"}


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".webp", "WEBP"), (".jpg", "JPEG"), (".JPEG", "JPEG")])
def test_the_format_follows_the_suffix(tmp_path, suffix, kind):
    path = tmp_path / f"out{suffix}"
    save_image(photo(), path)
    assert reopened(path.read_bytes()).format == kind


def test_a_given_format_goes_before_the_suffix(tmp_path):
    save_image(photo(), tmp_path / "out", format="webp")
    save_image(photo(), str(tmp_path / "out.jpg"), format="png")
    written = [(tmp_path / name).read_bytes() for name in ("out", "out.jpg")]
    assert [reopened(content).format for content in written] == ["WEBP", "PNG"]


@pytest.mark.parametrize("arguments", [("out.gif",), ("out",), ("out.png", None, "bmp")])
def test_other_formats_are_not_written(tmp_path, arguments):
    with pytest.raises(UnsupportedFormat):
        save_image(photo(), tmp_path / arguments[0], *arguments[1:])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, place, failure):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise failure

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[place], fail)
    with pytest.raises(failure):
        save_image(photo(), path)
    assert [(child.name, child.read_bytes()) for child in tmp_path.iterdir()] == [("out.png", b"old")]


def test_a_missing_folder_and_a_folder_as_target_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_image(photo(), tmp_path / "missing" / "out.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(FolderIsNoFile):
        save_image(photo(), tmp_path / "folder.png")
    assert [child.name for child in tmp_path.iterdir()] == ["folder.png"]


@needs_permissions
def test_a_saved_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "any").touch()
    save_image(photo(), tmp_path / "out.png")
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == stat.S_IMODE((tmp_path / "any").stat().st_mode)


@needs_fifos
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(pipe.read_bytes)
        save_image(photo(), pipe, format="png")
        assert load_image(reading.result(timeout=10)).rgb == photo()
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_same_picture_gives_the_same_bytes_in_every_thread():
    content = saved(cutout(), "PNG", icc_profile=rgb_profile(DISPLAY_P3))

    def both_ways(_):
        picture = load_image(content)
        return picture.view().tobytes(), encode(picture.rgb, "webp", picture.icc_profile)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(both_ways, range(20)))) == 1


@pytest.mark.parametrize("kind", ["webp", "jpg", "avif"])
def test_less_quality_makes_a_smaller_file(kind):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    sizes = [len(encode(image, kind, quality=quality)) for quality in (10, 50, 95)]
    assert sizes == sorted(set(sizes))


def test_transparency_of_webp_may_be_lossy():
    image = Image.new("RGBA", (64, 64))
    image.putalpha(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)))
    exact, lossy = encode(image, "webp"), encode(image, "webp", alpha_quality=10)
    assert len(lossy) < len(exact)
    assert load_image(exact).alpha == image.getchannel("A")
    assert load_image(lossy).alpha != image.getchannel("A")


def test_avif_keeps_colours_and_transparency_nearly():
    again = load_image(encode(cutout(), "avif", rgb_profile(DISPLAY_P3)))
    assert distance(again.alpha, cutout().getchannel("A")) < 2
    assert distance(again.rgb, cutout().convert("RGB")) < 8
    assert again.icc_profile == rgb_profile(DISPLAY_P3)


def test_tiff_keeps_all_exactly():
    again = load_image(encode(cutout(), "tiff", rgb_profile(DISPLAY_P3)))
    assert again.alpha == cutout().getchannel("A")
    assert again.rgb == photo()
    assert again.icc_profile == rgb_profile(DISPLAY_P3)


def test_avif_is_refused_where_pillow_lacks_it(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda _name: False)
    with pytest.raises(UnsupportedFormat, match="this Pillow writes no AVIF: choose WebP or PNG"):
        encode(photo(), "avif")


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("format_", ["png", "jpg", "tiff", "webp", "avif"])
def test_the_resolution_in_print_is_carried_over(name, format_):
    picture = load_image(saved(photo(), name, dpi=(300, 150)))
    assert picture.dpi == pytest.approx((300, 150), abs=0.1)
    written = load_image(encode(picture.rgb, format_, dpi=picture.dpi))
    exif = Image.Exif()
    exif.load(written.exif or b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    found = written.dpi or (float(exif[282]), float(exif[283]))
    assert found == pytest.approx((300, 150), abs=0.1)


def test_a_quarter_turn_exchanges_the_resolutions():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_image(saved(photo(), "JPEG", dpi=(300, 150), exif=exif.tobytes())).dpi == (150, 300)


def test_a_tiff_is_turned_with_its_resolution_and_one_that_states_none_has_none():
    turned = saved(photo(), "TIFF", dpi=(300, 150), tiffinfo={0x0112: 6})
    assert load_image(turned).size == (32, 48)
    assert load_image(turned).dpi == (150, 300)
    assert load_image(saved(photo(), "TIFF")).dpi is None


def test_a_resolution_that_jpeg_cannot_hold_is_left_out():
    assert load_image(encode(photo(), "jpg", dpi=(70_000, 70_000))).dpi is None


def test_resolution_and_camera_stand_side_by_side():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    for format_ in ("png", "jpg", "tiff", "webp"):
        written = Image.open(BytesIO(encode(photo(), format_, exif=exif.tobytes(), dpi=(72, 72))))
        assert written.getexif()[ExifTags.Base.Make] == "Maker"
        written.close()


def test_16_bits_carry_the_resolution():
    content = encode(np.zeros((4, 4, 4), np.uint16), "tiff", dpi=(300, 300))
    assert Image.open(BytesIO(content)).info["dpi"] == (300, 300)
