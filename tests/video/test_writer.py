"""Films that are written, read again by other programs' code."""

import errno
import os
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from u2net.errors import InvalidFilm
from u2net.video.film import Colors, Facts
from u2net.video.writer import KINDS, _Target, new_writer

from .films import BLUE, BT709, SIZE, av, disc, frames_of

FACTS = Facts(SIZE, Fraction(25), None, None, colors=Colors(BT709, False, BT709, BT709))
TIMES = [Fraction(t, 100) for t in (0, 4, 8, 30, 34)]


def cut(num: int) -> Image.Image:
    """A frame of which the right half is transparent."""
    image = disc(num).convert("RGBA")
    image.paste((0, 0, 0, 0), (SIZE[0] // 2, 0, *SIZE))
    return image


@pytest.mark.parametrize("suffix", [".webm", ".mov", ".gif", ".webp", ".png"])
def test_colours_transparency_and_times_are_kept(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with new_writer(path, FACTS, has_alpha=True) as writer:
        for i, time in enumerate(TIMES):
            writer.write(cut(i), time)
    found = frames_of(path)
    assert [time for time, _ in found] == TIMES
    for i, (_, pixels) in enumerate(found):
        expected = np.asarray(cut(i), int)
        np.testing.assert_allclose(pixels[:, :, 3], expected[:, :, 3], atol=3)
        left = np.abs(pixels[:, : SIZE[0] // 2 - 2, :3] - expected[:, : SIZE[0] // 2 - 2, :3])
        assert left.mean() <= (9 if suffix in (".webm", ".webp") else 3)  # which store colours at half the size


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webm"])
def test_films_say_how_their_colours_are_meant(tmp_path, name):
    path = tmp_path / name
    with new_writer(path, FACTS, has_alpha=False) as writer:
        for i, time in enumerate(TIMES):
            writer.write(disc(i), time)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (BT709, 1)
        if name != "a.webm":  # of which PyAV's decoder does not say more
            frame = next(container.decode(video=0))
            assert (frame.color_primaries, frame.color_trc) == (BT709, BT709)
    assert np.abs(frames_of(path)[0][1][2, 2, :3].astype(int) - BLUE).max() <= 3


@pytest.mark.parametrize("size", [(97, 64), (96, 65)])
def test_mp4_loses_a_line_of_odd_sizes(tmp_path, size):
    with new_writer(tmp_path / "a.mp4", FACTS, has_alpha=False) as writer:
        writer.write(disc(0, size), Fraction(0))
    ((_, pixels),) = frames_of(tmp_path / "a.mp4")
    assert pixels.shape[:2] == (64, 96)


def test_masks_are_grey_films(tmp_path):
    with new_writer(tmp_path / "a.webm", FACTS, has_alpha=False) as writer:
        writer.write(Image.linear_gradient("L").resize(SIZE), Fraction(0))
    ((_, pixels),) = frames_of(tmp_path / "a.webm")
    assert np.abs(pixels[:, :, 0].astype(int) - np.asarray(Image.linear_gradient("L").resize(SIZE))).mean() < 4


def test_the_shape_of_pixels_is_kept(tmp_path):
    facts = Facts(SIZE, Fraction(25), None, None, aspect=Fraction(4, 3))
    with new_writer(tmp_path / "a.mp4", facts, has_alpha=False) as writer:
        writer.write(disc(0), Fraction(0))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("suffix", [".webm", ".gif", ".webp", ".png"])
def test_pixels_become_square_where_their_shape_cannot_be_said(tmp_path, suffix):
    facts = Facts(SIZE, Fraction(25), None, None, aspect=Fraction(4, 3))
    with new_writer(tmp_path / f"a{suffix}", facts, has_alpha=True) as writer:
        writer.write(cut(0), Fraction(0))
        writer.write(cut(1), Fraction(1, 25))
    for _, pixels in frames_of(tmp_path / f"a{suffix}"):
        assert pixels.shape[:2] == (SIZE[1], SIZE[0] * 4 // 3)


@pytest.mark.parametrize("suffix", [".webm", ".mov", ".mp4", ".gif", ".webp", ".png"])
@pytest.mark.parametrize("num_written", [0, 1])
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, monkeypatch, suffix, num_written):
    written = []

    def write(target, content):
        if len(written) == num_written:
            target.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise target.error
        written.append(content)
        return target._write(content)

    def make(path):
        with new_writer(path, FACTS, has_alpha=False) as writer:
            for i in range(20):
                writer.write(Image.effect_noise((640, 480), 90).convert("RGB"), Fraction(i, 25))

    monkeypatch.setattr(_Target, "write", write)
    path = tmp_path / f"a{suffix}"
    with pytest.raises(OSError, match="No space left") as raised:
        make(path)
    assert raised.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_shorter_than_a_tick_of_the_film(tmp_path):
    with new_writer(tmp_path / "a.webm", Facts(SIZE, Fraction(12_800), None, None), has_alpha=True) as writer:
        writer.write(cut(0), Fraction(0))
    assert len(frames_of(tmp_path / "a.webm")) == 1


def test_sixteen_bits_go_into_prores(tmp_path):
    facts = Facts(SIZE, Fraction(25), None, None, bits=10, colors=FACTS.colors)
    ramp = np.linspace(0, 65_535, SIZE[0]).astype(np.uint16)
    pixels = np.full((SIZE[1], SIZE[0], 4), 65_535, np.uint16)
    pixels[:, :, :3] = ramp[None, :, None]
    with new_writer(tmp_path / "a.mov", facts, has_alpha=True) as writer:
        writer.write(pixels, Fraction(0))
    with av.open(str(tmp_path / "a.mov")) as container:
        (frame,) = container.decode(video=0)
    assert "10" in frame.format.name or "12" in frame.format.name
    assert np.abs(frame.to_ndarray(format="rgba64le")[5, :, 0].astype(int) - ramp).mean() < 200  # 8 bits: 257 a level


def test_without_a_suffix_it_is_a_folder_of_pictures(tmp_path):
    with new_writer(tmp_path / "frames", FACTS, has_alpha=True) as writer:
        for i, time in enumerate(TIMES):
            writer.write(cut(i), time)
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [f"{i:05}.png" for i in range(1, 6)]
    with Image.open(tmp_path / "frames/00003.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[:, :40], np.asarray(cut(2))[:, :40])


@pytest.mark.parametrize("name", [*(f"a{suffix}" for suffix in KINDS), "frames"])
def test_a_fault_leaves_what_was_there(tmp_path, name):
    path = tmp_path / name
    if path.suffix:
        path.write_bytes(b"before")

    def write():
        with new_writer(path, FACTS, has_alpha=name != "a.mp4") as writer:
            writer.write(disc(0) if name == "a.mp4" else cut(0), Fraction(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [p.name for p in tmp_path.iterdir()] == ([name] if path.suffix else [])
    assert not path.suffix or path.read_bytes() == b"before"


def test_a_film_without_frames_is_none(tmp_path):
    def write():
        with new_writer(tmp_path / "a.webm", FACTS, has_alpha=True):
            pass

    with pytest.raises(InvalidFilm, match="no frame"):
        write()
    assert list(tmp_path.iterdir()) == []
