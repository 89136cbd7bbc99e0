"""`u2net remove` of films and animated pictures."""

import json

import pytest
from networks import RED_MODEL
from PIL import Image

pytest.importorskip("av")

from video.films import disc, frames_of, make_film


@pytest.fixture
def film(tmp_path):
    return make_film(tmp_path / "clip.mp4")


@pytest.fixture
def red(here, tmp_path):
    return lambda *arguments, **options: here("remove", *arguments, "-m", RED_MODEL, cwd=tmp_path, **options)


@pytest.fixture
def animation(tmp_path):
    images = [disc(i) for i in range(4)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=40)
    return tmp_path / "a.gif"


def test_a_film_becomes_a_transparent_film_beside_it(red, film):
    result = red("clip.mp4")
    assert (result.returncode, result.stdout) == (0, b"wrote clip.out.webm\n")
    assert len(frames_of(film.with_name("clip.out.webm"))) == 8


def test_a_film_with_an_unknown_suffix_is_known_by_what_it_becomes(red, film):
    film.rename(film.with_name("recording.dat"))
    assert red("recording.dat", "b.webm").returncode == 0
    assert len(frames_of(film.with_name("b.webm"))) == 8
    disc(0).save(film.with_name("photo"), "PNG")
    result = red("photo", "c.webm")
    assert (result.returncode, film.with_name("c.webm").exists()) == (2, False)


def test_options_of_pictures_and_of_films(red, film):
    assert (
        red("clip.mp4", "b.mp4", "--background", "blue", "--start", "0.1", "--end", "0.2", "--steady", "0").returncode
        == 0
    )
    assert len(frames_of(film.with_name("b.mp4"))) == 2


def test_a_folder_of_frames(red, film):
    assert red("clip.mp4", "frames").returncode == 0
    assert len(list(film.with_name("frames").iterdir())) == 8
    assert red("clip.mp4", "frames").stdout == b"wrote frames/clip.webm\n"  # a folder that is there takes the film


def test_nothing_is_replaced_unasked(red, film):
    film.with_name("b.webm").write_bytes(b"before")
    result = red("clip.mp4", "-o", "b.webm")
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert red("clip.mp4", "-o", "clip.mp4", "--overwrite").returncode == 2
    assert film.with_name("b.webm").read_bytes() == b"before"
    assert red("clip.mp4", "-o", "b.webm", "--overwrite").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["clip.mp4", "a.jpg"], b"does not end in .webm, .mov, .mp4, .gif, .webp, .png"),
        (["clip.mp4", "-"], b"cannot go to stdout"),
        (["clip.mp4", "--end", "0"], b"--end is later than start"),
        (["clip.mp4", "--steady", "2"], b"--steady is 0 to 1"),
        (["clip.mp4", "--workers", "2"], b"are for folders"),
        (["photo.png", "--steady", "1"], b"are for films"),
        (["photo.png", "other.png", "out/", "--end", "1"], b"are for films"),
    ],
)
def test_what_makes_no_sense_is_one_line(red, film, arguments, said):
    for name in ("photo.png", "other.png"):
        disc(0).save(film.with_name(name))
    result = red(*arguments)
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert said in result.stderr


def test_a_broken_film_is_one_line(red, film):
    film.write_bytes(film.read_bytes()[:500])
    result = red("clip.mp4", "--json")
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
    (row,) = json.loads(result.stdout)["pictures"]
    assert (row["status"], row["target"]) == ("failed", "clip.out.webm")
    assert not film.with_name("clip.out.webm").exists()


@pytest.mark.parametrize("name", ["b.gif", "b.webp", "b.png", "b.webm", None])
def test_animated_pictures_stay_animated(red, animation, name):
    assert red("a.gif", *([name] if name else [])).returncode == 0
    assert len(frames_of(animation.with_name(name or "a.out.gif"))) == 4


@pytest.mark.parametrize("arguments", [["a.gif", "b.jpg"], ["a.gif", "-"], ["a.gif", "--format", "jpg"]])
def test_what_cannot_move_says_that_it_is_the_first_frame(red, animation, arguments):
    result = red(*arguments)
    assert result.returncode == 0
    assert b"the first of 4 frames is cut out" in result.stderr


def test_films_and_pictures_that_are_named(red, film, tmp_path):
    disc(0).save(tmp_path / "photo.png")
    make_film(tmp_path / "other.mov")
    (tmp_path / "broken.mkv").write_bytes(b"nothing")
    result = red("clip.mp4", "photo.png", "other.mov", "broken.mkv", "out/", "--end", "0.2")
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (1, b"3 done, 0 skipped, 1 failed\n", 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip.webm", "other.webm", "photo.png"]
    assert len(frames_of(tmp_path / "out/other.webm")) == 5
    assert b"3 skipped" in red("clip.mp4", "photo.png", "other.mov", "out/").stdout


def test_a_folder_with_films_among_pictures(red, film, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    film.rename(folder / "clip.mp4")
    disc(0).save(folder / "photo.png")
    (folder / "broken.mov").write_bytes(b"nothing")
    (folder / "notes.txt").touch()
    result = red("in", "out", "--json")
    rows = json.loads(result.stdout)
    assert {(row["target"], row["status"]) for row in rows["pictures"]} == {
        ("out/photo.png", "done"),
        ("out/clip.webm", "done"),
        ("out/broken.webm", "failed"),
    }
    assert rows["left_alone"] == {".txt": 1}
    again = json.loads(red("in", "out", "--json").stdout)["pictures"]
    assert {row["status"] for row in again if "broken" not in row["source"]} == {"skipped"}
    with Image.open(tmp_path / "out/photo.png") as image:
        assert image.mode == "RGBA"


def test_a_film_of_a_folder_that_somebody_edited_is_not_replaced(red, film, tmp_path):
    (tmp_path / "in").mkdir()
    film.rename(tmp_path / "in/clip.mp4")
    assert red("in", "out").returncode == 0
    (tmp_path / "out/clip.webm").write_bytes(b"edited")
    make_film(tmp_path / "in/clip.mp4", num=6)
    (row,) = json.loads(red("in", "out", "--json").stdout)["pictures"]
    assert (row["status"], "was changed since it was made" in row["reason"]) == ("failed", True)
    assert (tmp_path / "out/clip.webm").read_bytes() == b"edited"


def test_a_film_of_a_folder_that_was_only_touched_stays_as_it_is(red, film, tmp_path):
    (tmp_path / "in").mkdir()
    film.rename(tmp_path / "in/clip.mp4")
    assert red("in", "out").returncode == 0
    before = (tmp_path / "out/clip.webm").stat()
    (tmp_path / "in/clip.mp4").touch()
    assert red("in", "out").returncode == 0
    assert (tmp_path / "out/clip.webm").stat() == before


def raw(num: int) -> bytes:
    return b"".join(disc(i).tobytes() for i in range(num))


def test_raw_frames_become_numbered_files(here, tmp_path):
    result = here("b", "96", "64", "-o", "out/%03d.png", "-m", RED_MODEL, stdin=raw(3), cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000.png", "001.png", "002.png"]
    with Image.open(tmp_path / "out/002.png") as image:
        assert image.getpixel((26, 32)) == (*disc(2).getpixel((26, 32)), 255)
        assert image.getpixel((90, 5))[3] == 0


@pytest.mark.parametrize(("arguments", "channels"), [([], 4), (["--only-mask"], 1), (["--background", "blue"], 4)])
def test_raw_frames_go_on_through_a_pipe(here, arguments, channels):
    result = here("frames", "96", "64", "--raw", "-m", RED_MODEL, *arguments, stdin=raw(2))
    assert (result.returncode, len(result.stdout)) == (0, 2 * 96 * 64 * channels)


def test_files_of_frames_go_on_through_a_pipe(here):
    assert here("frames", "96", "64", "-m", RED_MODEL, stdin=raw(2)).stdout.count(b"\x89PNG") == 2


def test_a_frame_that_is_cut_off_is_named(here):
    result = here("frames", "96", "64", "--raw", "-m", RED_MODEL, stdin=raw(2)[:-5])
    assert (result.returncode, len(result.stdout)) == (1, 96 * 64 * 4)
    assert result.stderr == b"u2net: stdin ended within a frame: 18,427 of 18,432 bytes\n"


def test_a_strength_out_of_range_is_one_line(here):
    result = here("frames", "96", "64", "--raw", "--steady", "2", "-m", RED_MODEL, stdin=raw(1))
    assert (result.returncode, result.stderr.count(b"\n"), b"--steady is 0 to 1" in result.stderr) == (2, 1, True)


@pytest.mark.parametrize("name", ["a.png", "a%s.png", "%d-%d.png"])
def test_names_without_a_number_are_refused(here, name):
    assert here("frames", "96", "64", "-o", name, stdin=raw(1)).returncode == 2
