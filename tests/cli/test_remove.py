import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import read_image
from PIL import ExifTags, Image, ImageCms

from cli.command import u2net
from u2net import remove
from u2net.models.zoo import find

EXACT = ("--precision", "fp32", "--runtime", "onnxruntime")
"""What makes the command's maps those of the fixture `packaged`."""


def _assert_refused(result, code: int, *words: str) -> None:
    """One line on stderr that holds these words, nothing on stdout, this exit code."""
    error = result.stderr.decode()
    assert result.returncode == code, error
    assert error.count("\n") == 1, error
    assert all(word in error for word in words), error
    assert result.stdout == b""


def test_a_picture_becomes_a_cut_out_beside_it(tmp_path, photograph):
    shutil.copy(photograph, tmp_path / "cup.jpg")
    result = u2net("remove", tmp_path / "cup.jpg")
    assert (result.returncode, result.stderr) == (0, b"")
    cutout = read_image(tmp_path / "cup.out.png")
    assert (cutout.mode, cutout.size) == ("RGBA", (600, 400))
    assert cutout.getpixel((300, 200))[3] > 250
    assert cutout.getpixel((5, 395))[3] < 5


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.webp", "WEBP"),
        ("a.png", "PNG"),
        ("a.JPG", "JPEG"),
        ("a.jpeg", "JPEG"),
        ("a.avif", "AVIF"),
        ("a.tif", "TIFF"),
    ],
)
def test_the_format_follows_the_name(here, tmp_path, photograph, name, kind):
    assert here("remove", photograph, tmp_path / name).returncode == 0
    assert read_image(tmp_path / name).format == kind


def test_jpeg_gets_a_white_background(here, tmp_path, photograph):
    here("remove", photograph, tmp_path / "a.jpg")
    assert min(read_image(tmp_path / "a.jpg").getpixel((5, 395))) > 245


def test_a_background_by_name_and_by_rembgs_numbers(here, tmp_path, photograph):
    here("remove", photograph, tmp_path / "a.png", "--background", "#00ff00")
    here("i", "-bgc", "0", "255", "0", "255", photograph, tmp_path / "b.png")
    a, b = read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png")
    assert a.getpixel((5, 395)) == (0, 255, 0, 255)
    assert a.tobytes() == b.tobytes()


def test_a_mask(here, tmp_path, photograph, packaged):
    for flag in ("--mask", "-om"):
        made = tmp_path / f"mask{flag}.png"
        here("remove", flag, "--quality", "coarse", *EXACT, photograph, made)
        np.testing.assert_array_equal(np.asarray(read_image(made)), packaged.mask(photograph))


def test_rembgs_matting_flags_mean_what_its_parameters_mean(here, tmp_path, photograph, packaged):
    here("i", "-a", "-af", "200", "-ab", "40", "-ae", "5", *EXACT, photograph, tmp_path / "a.png")
    expected = remove(
        photograph,
        alpha_matting=True,
        alpha_matting_foreground_threshold=200,
        alpha_matting_background_threshold=40,
        alpha_matting_erode_size=5,
        session=packaged,
    )
    assert read_image(tmp_path / "a.png").tobytes() == expected.tobytes()


@pytest.mark.parametrize("flags", [{"quality": "best"}, {"quality": "fast", "decontaminate": True}])
def test_the_qualities_are_those_of_the_function(here, tmp_path, photograph, packaged, flags):
    arguments = ["--quality", flags["quality"], *(["-dc"] if "decontaminate" in flags else [])]
    here("remove", *arguments, *EXACT, photograph, tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tobytes() == remove(photograph, session=packaged, **flags).tobytes()


def test_a_post_processed_mask(here, tmp_path, photograph):
    here("i", "-om", "-ppm", photograph, tmp_path / "mask.png")
    assert set(np.unique(np.asarray(read_image(tmp_path / "mask.png")))) == {0, 255}


def test_from_stdin_to_stdout(photograph):
    result = u2net("remove", stdin=photograph.read_bytes())
    assert Image.open(io.BytesIO(result.stdout)).mode == "RGBA"
    assert result.stderr == b""


def test_a_file_to_stdout_in_another_format(here, photograph):
    result = here("remove", photograph, "-", "--format", "webp")
    assert Image.open(io.BytesIO(result.stdout)).format == "WEBP"


def test_patience_makes_the_file_smaller_and_keeps_the_pixels(here, tmp_path, photograph):
    for level in ("1", "9"):
        assert here("remove", photograph, tmp_path / f"{level}.png", "--png-level", level).returncode == 0
    fast, small = tmp_path / "1.png", tmp_path / "9.png"
    assert small.stat().st_size < fast.stat().st_size
    assert read_image(small).tobytes() == read_image(fast).tobytes()


def _deep_tiff(path: Path, photograph: Path, **options: object) -> np.ndarray:
    """A photograph in 16 bits, of which the lower 8 are noise; its levels."""
    tifffile = pytest.importorskip("tifffile")
    pixels = np.asarray(read_image(photograph).convert("RGB"), dtype=int)
    noise = np.random.default_rng(0).integers(-128, 129, pixels.shape)
    levels = (pixels * 257 + noise).clip(0, 65_535).astype(np.uint16)
    tifffile.imwrite(path, levels, photometric="rgb", metadata=None, **options)
    return levels


def test_16_bits_of_a_tiff_file_survive_where_it_is_opaque(here, tmp_path, photograph):
    tifffile = pytest.importorskip("tifffile")
    profile, make = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), (271, "s", 0, "Cam", True)
    levels = _deep_tiff(tmp_path / "a.tif", photograph, iccprofile=profile, extratags=[make])
    result = here("remove", tmp_path / "a.tif", tmp_path / "b.tif", "--bit-depth", "16", "--exif", "keep")
    assert (result.returncode, result.stderr) == (0, b"")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        page = file.pages.first
        cutout = page.asarray()
        assert (page.iccprofile, page.tags["Make"].value) == (profile, "Cam")
    opaque = cutout[:, :, 3] == 65_535
    assert 0.3 < opaque.mean() < 0.7
    np.testing.assert_array_equal(cutout[opaque][:, :3], levels[opaque])
    assert len(np.unique(cutout[:, :, 3])) > 1000


def test_a_mask_of_16_bits_is_one_channel(here, tmp_path, photograph):
    assert here("remove", photograph, tmp_path / "a.tif", "--mask", "--bit-depth", "16").returncode == 0
    mask = read_image(tmp_path / "a.tif")
    assert (mask.mode, mask.size) == ("I;16", (600, 400))
    assert len(np.unique(np.asarray(mask))) > 1000


def test_16_bits_through_pipes(here, photograph):
    result = here("remove", "--format", "tiff", "--bit-depth", "16", stdin=photograph.read_bytes())
    assert Image.open(io.BytesIO(result.stdout)).tag_v2[258] == (16, 16, 16, 16)


def test_a_folder_in_16_bits_cuts_out_what_it_can(here, tmp_path, photograph):
    (tmp_path / "in").mkdir()
    _deep_tiff(tmp_path / "in/a.tif", photograph)
    (tmp_path / "in/b.tif").write_bytes((tmp_path / "in/a.tif").read_bytes()[:-9000])
    shutil.copy(photograph, tmp_path / "in/c.jpg")
    command = ("remove", tmp_path / "in", tmp_path / "out", "--format", "tiff", "--bit-depth", "16", "--workers", "1")
    result = here(*command, "--report", tmp_path / "report.html")
    assert result.stdout == b"2 done, 0 skipped, 1 failed\n"
    assert result.stderr.count(b"\n") == 1
    assert b"broken TIFF picture" in result.stderr
    for name in ("a.tiff", "c.tiff"):
        assert read_image(tmp_path / "out" / name).tag_v2[258] == (16, 16, 16, 16)
    other = here("remove", tmp_path / "in", tmp_path / "out", "--format", "tiff")
    assert b"started with another configuration" in other.stderr


def test_into_a_folder(here, tmp_path, photograph):
    here("remove", photograph, f"{tmp_path}/new/")
    assert (tmp_path / "new/coffee.png").exists()


def test_a_report_in_json(here, tmp_path, photograph):
    result = here("remove", photograph, tmp_path / "a.png", "--json")
    (row,) = json.loads(result.stdout)["pictures"]
    assert 0.8 < row.pop("confidence") < 1
    assert row == {"source": str(photograph), "target": str(tmp_path / "a.png"), "status": "done", "reason": ""}


def test_a_model_by_path_and_another_runtime(tmp_path, photograph, u2netp):
    pytest.importorskip("openvino")
    from u2net.models.zoo import find

    u2net(
        "remove",
        "-om",
        "-m",
        find("u2netp"),
        "--quality",
        "coarse",
        "--runtime",
        "openvino",
        photograph,
        tmp_path / "a.png",
    )
    mask = np.asarray(read_image(tmp_path / "a.png")).astype(int)
    assert np.abs(mask - u2netp.mask(photograph)).max() <= 1


@pytest.fixture
def cups(tmp_path_factory, photograph):
    """Copies of the photograph: no fault may cost the documents theirs."""
    folder = tmp_path_factory.mktemp("cups")
    for name in ("cup.jpg", "other.jpg"):
        shutil.copy(photograph, folder / name)
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.jpg"], ["nowhere.jpg"]),
        (["{cup}", "out.gif"], ["out.gif", ".png"]),
        (["{cup}", "out.png", "--format", "webp"], ["out.png", ".webp"]),
        (["{cup}", "-o", "{cup}", "--overwrite"], ["replace the picture itself"]),
        (["{cup}", "nowhere.jpg", "out/"], ["nowhere.jpg"]),
        (["{cup}", "{folder}", "out/"], ["folder"]),
        (["{cup}", "-", "out/"], ["stdin"]),
        (["{cup}", "{other}", "-o", "-"], ["stdout"]),
        (["{cup}", "{other}", "typo.jpg"], ["typo.jpg", "folder"]),
        (["{cup}", "{other}", "--watch"], ["--watch", "folders"]),
        (["{cup}", "-o", ""], ["empty"]),
        (["{folder}", "-"], ["folder"]),
        (["{folder}", "{cup}"], ["folder"]),
        (["-m", "u2nep", "{cup}", "out.png"], ["u2nep", "u2netp"]),
        (["-m", "isnet-general-use", "{cup}", "out.png"], ["isnet-general-use"]),
        (["--background", "red", "-bgc", "1", "2", "3", "4", "{cup}"], ["one"]),
        (["--background", "#ff000080", "{cup}", "out.jpg"], ["JPEG"]),
        (["-vm", "{cup}"], ["-vm"]),
        (["-af", "200", "{cup}"], ["-af", "-a"]),
        (["-ab", "0", "{cup}"], ["-ab", "-a"]),
        (["-ae", "0", "{cup}"], ["-ae", "-a"]),
        (["-a", "--quality", "best", "{cup}"], ["-a", "--quality"]),
        (["--mask", "-dc", "{cup}"], ["mask"]),
        (["--mask", "--shadow", "{cup}"], ["mask"]),
        (["--mask", "--background", "white", "{cup}"], ["mask"]),
        (["--invert", "--shadow", "{cup}"], ["--invert"]),
        (["--background", "white..#ff000080", "{cup}", "out.jpg"], ["JPEG"]),
        (["--background", "reddish", "{cup}"], ["reddish", "colour", "blur"]),
        (["--background", "white..reddish", "{cup}"], ["white..reddish"]),
        (["--bit-depth", "16", "{cup}", "out.png"], ["16 bits", "tiff", "png"]),
        (["--bit-depth", "16", "{cup}", "out.jpg"], ["16 bits", "tiff", "jpg"]),
        (["--bit-depth", "16", "{cup}", "out.webp"], ["16 bits", "tiff", "webp"]),
        (["--runtime", "onnxruntime", "--precision", "bf16", "{cup}"], ["bf16", "openvino", "onnxruntime"]),
        (["--workers", "0", "{folder}"], ["--workers is 1 to 1024"]),
        (["--workers", "1025", "{folder}"], ["--workers is 1 to 1024"]),
        (["--keep-largest", "0", "{cup}"], ["--keep-largest is 1 or more"]),
        (["--lossy-quality", "50", "{cup}"], ["u2net: png is exact: --lossy-quality", "webp"]),
        (["--alpha-quality", "50", "{cup}", "out.jpg"], ["--alpha-quality"]),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(here, tmp_path, cups, arguments, words):
    places = {"cup": cups / "cup.jpg", "other": cups / "other.jpg", "folder": tmp_path}
    result = here("remove", *(argument.format(**places) for argument in arguments), cwd=tmp_path)
    _assert_refused(result, 2, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0"])
def test_a_broken_picture_is_one_line_and_exit_code_1(here, tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    _assert_refused(here("remove", tmp_path / "a.jpg"), 1, "a.jpg: ")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
    _assert_refused(here("remove", stdin=content), 1)


def test_a_failure_leaves_the_file_that_was_there(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"broken")
    (tmp_path / "a.png").write_bytes(b"precious")
    _assert_refused(u2net("remove", tmp_path / "a.jpg", "-o", tmp_path / "a.png", "--overwrite"), 1, "a.jpg: ")
    assert (tmp_path / "a.png").read_bytes() == b"precious"


def test_a_picture_is_not_poured_onto_a_terminal(photograph):
    pty = pytest.importorskip("pty", reason="Windows has no terminals of this kind")
    leader, follower = pty.openpty()
    with os.fdopen(leader), os.fdopen(follower) as terminal:
        command = [sys.executable, "-m", "u2net", "remove", str(photograph), "-"]
        result = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)


def test_stdin_that_is_a_terminal_is_not_waited_for():
    pty = pytest.importorskip("pty", reason="Windows has no terminals of this kind")
    leader, follower = pty.openpty()
    with os.fdopen(leader), os.fdopen(follower) as terminal:
        command = [sys.executable, "-m", "u2net", "remove"]
        result = subprocess.run(command, stdin=terminal, capture_output=True, timeout=60)
    _assert_refused(result, 2, "give a picture")


@pytest.mark.parametrize("arguments", [["a.jpg"], ["a.jpg", "."], ["a.jpg", "-o", "b.jpg"]])
def test_no_file_is_replaced_unasked(here, tmp_path, photograph, arguments):
    for name in ("a.jpg", "b.jpg", "a.png", "a.out.png"):
        (tmp_path / name).write_bytes(photograph.read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    _assert_refused(here("remove", *arguments, cwd=tmp_path), 2, "--overwrite")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert here("remove", *arguments, "--overwrite", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("verb", [["remove", "cup.jpg", "-o", "a.png"], ["remove", "."]])
def test_a_limit_of_the_environment_that_makes_no_sense_is_one_line(here, tmp_path, cups, monkeypatch, verb):
    for name in ("cup.jpg", "b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cups / "cup.jpg", tmp_path / name)
    monkeypatch.setenv("U2NET_MAX_PIXELS", "many")
    result = here(*verb, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.decode().splitlines()[-1] == "u2net: U2NET_MAX_PIXELS is a whole number above 0, got 'many'"


@pytest.fixture
def shop(tmp_path):
    """Three small pictures, two of which would become the same file, and what each holds."""
    for name, color in (("a.jpg", "red"), ("a.png", "green"), ("b.jpg", "blue")):
        Image.new("RGB", (32, 24), color).save(tmp_path / name)
    return {path: path.read_bytes() for path in tmp_path.iterdir()}


def _is_as_before(shop):
    return all(path.read_bytes() == content for path, content in shop.items())


def test_a_picture_that_is_named_last_is_no_output(here, tmp_path, shop):
    result = here("remove", "a.jpg", "b.jpg", "--overwrite", "--quality", "coarse", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, b"2 done, 0 skipped, 0 failed\n")
    assert b"b.jpg is there already, so it is a second picture; -o replaces it" in result.stderr
    assert _is_as_before(shop)
    assert {path.name for path in tmp_path.iterdir()} - {path.name for path in shop} == {"a.out.png", "b.out.png"}


def test_several_pictures_become_files_of_a_folder_and_none_is_replaced_unasked(here, tmp_path, shop):
    names = sorted(path.name for path in shop)
    assert here("remove", *names, "out/", "--quality", "coarse", cwd=tmp_path).returncode == 0
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(made) == {"a.jpg.png", "a.png.png", "b.png"}
    (tmp_path / "out/b.png").write_bytes(b"precious")
    again = here("remove", *names, "out", "--quality", "coarse", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, b"0 done, 3 skipped, 0 failed\n")
    assert again.stderr.decode().count("exists already: --overwrite replaces it") == 3
    assert (tmp_path / "out/b.png").read_bytes() == b"precious"
    assert here("remove", "b.jpg", "a.jpg", "-o", "out", "--overwrite", cwd=tmp_path).returncode == 0
    assert (tmp_path / "out/b.png").read_bytes() != b"precious"
    assert _is_as_before(shop)


def test_one_broken_picture_of_several_costs_no_other(here, tmp_path, shop):
    (tmp_path / "c.jpg").write_bytes(b"broken")
    result = here("remove", "c.jpg", "b.jpg", "b.jpg", "--quality", "coarse", "--json", cwd=tmp_path)
    rows = json.loads(result.stdout)["pictures"]
    assert result.returncode == 1
    assert {row["source"]: row["status"] for row in rows} == {"b.jpg": "done", "c.jpg": "failed"}


def test_pictures_one_after_another_in_a_pipe_are_refused(here, shop):
    content = b"".join(sorted(shop.values()))
    _assert_refused(here("remove", "-", "-", stdin=content), 1, "several pictures")


def test_a_file_called_minus_is_a_file(here, tmp_path, photograph):
    shutil.copy(photograph, tmp_path / "-")
    assert here("remove", "./-", "a.png", cwd=tmp_path).returncode == 0
    assert read_image(tmp_path / "a.png").size == (600, 400)


@pytest.mark.parametrize("arguments", [["", "out/"], ["a.jpg", ""], [".", "."], ["/"]])
def test_names_that_say_nothing_are_refused(here, tmp_path, photograph, arguments):
    shutil.copy(photograph, tmp_path / "a.jpg")
    _assert_refused(here("remove", *arguments, cwd=tmp_path), 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")
def test_a_full_disk_behind_stdout_is_an_error(photograph):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-u", "-m", "u2net", "remove", str(photograph), "-"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)


@pytest.fixture
def nothing(tmp_path) -> Path:
    """A picture of nothing: a grey wall."""
    path = tmp_path / "wall.png"
    Image.fromarray(np.random.default_rng(0).integers(118, 138, (90, 120, 3), np.uint8)).save(path)
    return path


def test_a_picture_without_a_subject_is_cut_out_unless_asked(here, nothing, tmp_path):
    result = here("remove", nothing, tmp_path / "out.png", "--json")
    (row,) = json.loads(result.stdout)["pictures"]
    assert (row["status"], (tmp_path / "out.png").exists()) == ("done", True)
    assert row["confidence"] < 0.1


@pytest.mark.parametrize(("wish", "code", "status"), [("skip", 0, "skipped"), ("fail", 1, "failed")])
def test_a_picture_without_a_subject_is_skipped_or_fails_on_request(here, nothing, tmp_path, wish, code, status):
    result = here("remove", nothing, tmp_path / "out.png", "--on-empty", wish, "--json")
    (row,) = json.loads(result.stdout)["pictures"]
    assert (result.returncode, row["status"]) == (code, status)
    assert "no subject found" in row["reason"]
    assert "no subject found" in result.stderr.decode()
    assert not (tmp_path / "out.png").exists()


def test_cropped_to_a_square_with_a_margin(here, tmp_path, photograph):
    here("remove", photograph, tmp_path / "a.png", "--crop")
    here("remove", photograph, tmp_path / "b.png", "--crop-margin", "0.1", "--crop-aspect", "1:1")
    tight, square = read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png")
    assert tight.getchannel("A").point(lambda value: 255 * (value > 12)).getbbox() == (0, 0, *tight.size)
    assert square.width == square.height == max(tight.size) + 2 * round(0.1 * max(tight.size))


@pytest.mark.parametrize("aspect", ["0:1", "1:0", "wide", "nan:1", "1000:1"])
def test_an_aspect_that_is_none_is_refused(here, tmp_path, photograph, aspect):
    result = here("remove", photograph, tmp_path / "a.png", "--crop-aspect", aspect)
    assert result.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_over_a_gradient_its_own_blur_and_another_picture(here, tmp_path, photograph):
    read_image(photograph).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(tmp_path / "behind.png")
    for name, background in (("a", "white..navy"), ("b", "blur"), ("c", str(tmp_path / "behind.png"))):
        assert here("remove", photograph, tmp_path / f"{name}.jpg", "--background", background).returncode == 0
    gradient, blur, picture = (read_image(tmp_path / f"{name}.jpg") for name in "abc")
    assert min(gradient.getpixel((5, 3))) > 240
    assert gradient.getpixel((5, 396))[2] > gradient.getpixel((5, 396))[0] + 60
    own, behind = read_image(photograph).convert("RGB"), read_image(tmp_path / "behind.png")
    assert np.abs(np.subtract(blur.getpixel((5, 395)), own.getpixel((5, 395)))).max() < 60
    assert np.abs(np.subtract(picture.getpixel((5, 395)), behind.getpixel((5, 395)))).max() < 20


def test_a_background_that_is_no_picture_is_one_line(here, tmp_path, photograph):
    (tmp_path / "notes.txt").write_text("not a picture")
    result = here("remove", photograph, tmp_path / "a.png", "--background", tmp_path / "notes.txt")
    _assert_refused(result, 2, "notes.txt", "not a JPEG")


def test_parts_inversion_and_shadow(here, tmp_path, photograph):
    here("remove", photograph, tmp_path / "a.png", "--keep-largest", "1", "--shadow", "--crop-margin", "0.1")
    here("remove", photograph, tmp_path / "b.png", "--invert")
    shaded, inverted = read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png")
    assert inverted.getpixel((300, 200))[3] == 0
    assert inverted.getpixel((5, 395))[3] == 255
    below = shaded.getpixel((shaded.width // 2, round(0.96 * shaded.height)))
    assert below[:3] == (0, 0, 0)
    assert below[3] > 10


@pytest.mark.parametrize(
    ("wish", "make", "place"), [("strip", False, False), ("keep", True, False), ("all", True, True)]
)
def test_what_the_camera_noted_is_written_on_request_alone(here, tmp_path, photograph, wish, make, place):
    tags = Image.Exif()
    tags[ExifTags.Base.Make] = "Cam"
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 30.0, 1.0)
    read_image(photograph).save(tmp_path / "a.jpg", exif=tags)
    here("remove", tmp_path / "a.jpg", tmp_path / "a.png", "--exif", wish)
    written = read_image(tmp_path / "a.png").getexif()
    assert (ExifTags.Base.Make in written, bool(written.get_ifd(ExifTags.IFD.GPSInfo))) == (make, place)


def test_qualities_of_files(here, tmp_path, photograph):
    for name, flags in (("a", []), ("b", ["--lossy-quality", "20"]), ("c", ["--alpha-quality", "10"])):
        here("remove", photograph, tmp_path / f"{name}.webp", *flags)
    sizes = {name: (tmp_path / f"{name}.webp").stat().st_size for name in "abc"}
    assert sizes["b"] < 0.5 * sizes["a"]
    assert sizes["c"] < sizes["a"]


# ---- rembg's options and verbs ---------------------------------------------------------------------------------


def test_a_model_named_in_extras_is_opened(here, tmp_path, photograph):
    shutil.copy(find("u2netp"), tmp_path / "mine.onnx")
    extras = '{"model_path": "mine.onnx"}'
    result = here("i", "-m", "u2net_custom", "-x", extras, photograph, tmp_path / "a.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    here("i", "-m", "mine.onnx", photograph, tmp_path / "b.png", cwd=tmp_path)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("extras", ["{", "[1]", '{"sam_prompt": []}', '{"model_path": 7}'])
def test_extras_that_are_not_known_are_refused(here, tmp_path, photograph, extras):
    result = here("i", "-x", extras, photograph, tmp_path / "a.png")
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_short_watch_is_watch(here, tmp_path, photograph):
    result = here("i", "-w", photograph, tmp_path / "a.png")
    assert (result.returncode, b"--watch" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["p", "-d", "in", "out"], b"no picture is deleted"),
        (["d", "u2net"], b"u2net models download NAME"),
        (["m"], b"u2net models list"),
    ],
)
def test_what_only_rembg_has_is_one_line_that_names_what_does(here, tmp_path, photograph, arguments, told):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(photograph.read_bytes())
    result = here(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr.count(b"\n"), told in result.stderr) == (2, 1, True)
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.jpg"]
