"""Films that are read: times, turns, pixels' shape, depth, colours, and what is broken."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from u2net.errors import ImageTooLarge, InvalidFilm
from u2net.images.limits import Limits
from u2net.video import open_film
from u2net.video.film import num_frames

from .films import SIZE, av, disc, make_film


def test_frames_come_in_their_order_with_their_times(tmp_path):
    times = [Fraction(t, 1000) for t in (0, 40, 90, 300, 320, 600)]
    with open_film(make_film(tmp_path / "a.mkv", times=times)) as film:
        found = list(film.frames())
    assert [frame.time for frame in found] == times
    assert film.broken == []
    assert np.abs(np.asarray(found[3].picture.rgb, int) - np.asarray(disc(3), int)).mean() <= 2


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_the_facts_of_a_film(tmp_path, suffix):
    with open_film(make_film(tmp_path / f"a.{suffix}", pixels="yuv420p")) as film:
        assert film.facts.size == SIZE
        assert film.facts.rate == 25
        assert film.facts.bits == 8
        assert film.facts.duration == pytest.approx(0.32, abs=0.01)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_turned_films_are_upright(tmp_path, rotation):
    path = make_film(tmp_path / "a.mp4", rotation=rotation, aspect=Fraction(4, 3))
    with open_film(path) as film:
        frame = next(film.frames())
    turned = disc(0).rotate(rotation, expand=True)
    assert film.facts.size == frame.picture.size == turned.size
    assert film.facts.aspect == (Fraction(4, 3) if rotation == 180 else Fraction(3, 4))
    assert np.abs(np.asarray(frame.picture.rgb, int) - np.asarray(turned, int)).mean() <= 2


def test_ten_bits_are_kept(tmp_path):
    with open_film(make_film(tmp_path / "a.mkv", pixels="yuv444p10le")) as film:
        frame = next(film.frames())
    assert film.facts.bits == 10
    assert frame.picture.rgb_16.dtype == np.uint16
    expected = np.asarray(disc(0), float) * 257
    assert np.abs(frame.picture.rgb_16 - expected).mean() < 257


def test_a_part_of_a_film(tmp_path):
    with open_film(make_film(tmp_path / "a.mp4")) as film:
        times = [frame.time for frame in film.frames(0.08, 0.2)]
        assert times == [Fraction(2, 25), Fraction(3, 25), Fraction(4, 25)]
        assert len(list(film.frames())) == 8  # it can be read again


@pytest.mark.parametrize(("suffix", "most"), [("mp4", 30), ("mov", 30), ("mkv", 30), ("ts", 70)])
def test_what_lies_before_a_part_is_not_decoded(tmp_path, suffix, most):
    path = make_film(tmp_path / f"a.{suffix}", num=60, group=10, pixels="yuv420p")
    with open_film(path) as film:
        whole = [frame for frame in film.frames() if 1.6 <= float(frame.time) < 1.8]
        decoder, packets = film._decoder, []
        film._decoder = SimpleNamespace(
            decode=lambda packet: packets.append(packet) or decoder.decode(packet), flush_buffers=decoder.flush_buffers
        )
        part = list(film.frames(1.6, 1.8))
    assert len(packets) <= most  # a transport stream has no index: it is read from its beginning
    assert [frame.time for frame in part] == [frame.time for frame in whole]
    for one, other in zip(part, whole, strict=True):
        assert np.array_equal(one.picture.rgb, other.picture.rgb)


def test_a_part_of_a_film_that_is_cut_off(tmp_path):
    whole = make_film(tmp_path / "a.mkv", num=60, group=10)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    with open_film(whole) as film:
        assert len(list(film.frames(0.6, 0.8))) == 5
        with pytest.raises(InvalidFilm, match="it is cut off"):
            list(film.frames(0.6))


def _timed(path: Path, times: list[int]) -> Path:
    """A film whose frames have these times, in twenty-fifths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        packets = [packet for i in range(len(times)) for packet in stream.encode(av.VideoFrame.from_image(disc(i)))]
        for i, (packet, time) in enumerate(zip(packets + stream.encode(), times, strict=True)):
            packet.dts, packet.pts = min(i, time), time
            container.mux(packet)
    return path


def test_frames_that_an_edit_list_hides_do_not_lack(tmp_path):
    with open_film(_timed(tmp_path / "a.mp4", [i - 5 for i in range(12)])) as film:
        assert film.facts.num_frames == 12
        assert len(list(film.frames())) in (7, 12)  # players, and FFmpeg's versions, hide the first five or do not


def test_a_film_that_begins_late_is_whole(tmp_path):
    path = make_film(tmp_path / "a.mkv", times=[Fraction(3, 2) + Fraction(i, 25) for i in range(12)], sound="aac")
    with open_film(path) as film:
        assert [frame.time * 25 for frame in film.frames()] == list(range(12))


def test_a_second_frame_of_one_time_is_named_and_the_film_is_not_cut_off(tmp_path):
    with open_film(_timed(tmp_path / "a.mp4", [0, 1, 2, 4, 4, 5, 6, 7])) as film:
        assert [float(frame.time * 25) for frame in film.frames()] == [0, 1, 2, 4, 5, 6, 7]
        assert film.broken == ["a second frame at 0.16 s is left out"]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animated_pictures(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    images = [disc(i).convert("RGBA") for i in range(4)]
    images[2].putalpha(128)
    images[0].save(path, save_all=True, append_images=images[1:], duration=[40, 80, 200, 40], lossless=True)
    assert num_frames(path) == 4
    with open_film(path) as film:
        found = list(film.frames())
    assert [frame.time for frame in found] == [0, Fraction(40, 1000), Fraction(120, 1000), Fraction(320, 1000)]
    assert [frame.picture.alpha is not None for frame in found] == [False, False, suffix != "gif", False]


def test_transparency_of_webm_is_read(tmp_path):
    from u2net.video.film import Facts
    from u2net.video.writer import new_writer

    image = disc(0).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(SIZE))
    with new_writer(tmp_path / "a.webm", Facts(SIZE, Fraction(25), None, None), has_alpha=True) as writer:
        writer.write(image, Fraction(0))
    with open_film(tmp_path / "a.webm") as film:
        (frame,) = film.frames()
    assert np.abs(np.asarray(frame.picture.alpha, int) - np.asarray(image.getchannel("A"), int)).mean() < 4


def test_what_is_no_film(tmp_path):
    (tmp_path / "text.mp4").write_text("no film at all\n" * 100)
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4"):
        with pytest.raises(InvalidFilm, match="no film that FFmpeg reads"):
            open_film(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_film(tmp_path / "none.mp4")


def test_sound_alone_is_no_film(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 48_000
        container.mux(stream.encode(tone))
        container.mux(stream.encode(None))
    with pytest.raises(InvalidFilm, match="sound alone"):
        open_film(tmp_path / "a.mp4")


def test_a_film_that_is_cut_off_says_what_is_there(tmp_path):
    whole = make_film(tmp_path / "a.mp4", num=50, codec="mpeg4", pixels="yuv420p").read_bytes()
    moov = whole.index(b"moov") - 4
    head, index = whole[:moov], whole[moov:]
    (tmp_path / "b.mp4").write_bytes(head[: len(head) // 2] + bytes(len(head) - len(head) // 2) + index)
    (tmp_path / "c.mp4").write_bytes(head[: len(head) // 2])
    with pytest.raises(InvalidFilm):
        open_film(tmp_path / "c.mp4")
    with open_film(tmp_path / "b.mp4") as film, suppress(InvalidFilm):
        list(film.frames())
        assert film.broken


def test_frames_beyond_the_limits_are_refused(tmp_path):
    path = make_film(tmp_path / "a.mp4")
    with pytest.raises(ImageTooLarge):
        open_film(path, Limits(max_pixels=1000))


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_film_ends_in_one_way_or_the_other(tmp_path, seed):
    """With all of its frames, what was wrong named, or as no film; never in a fault."""
    random = np.random.default_rng(seed)
    content = bytearray(make_film(tmp_path / "a.mp4", num=12, pixels="yuv420p").read_bytes())
    if seed % 2:
        content = content[: random.integers(1, len(content))]
    for place in random.integers(0, len(content), 40):
        content[place] = random.integers(256)
    path = tmp_path / "b.mp4"
    path.write_bytes(content)
    with suppress(InvalidFilm, ImageTooLarge), open_film(path) as film:
        assert len(list(film.frames())) + len(film.broken) >= 1


def test_a_large_film_without_its_end_is_read_from_its_beginning(tmp_path):
    """It begins late, without an index, and has one frame that can be sought: FFmpeg finds nothing before it."""
    random = np.random.default_rng(0)
    with av.open(str(tmp_path / "a.mkv"), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"crf": "1", "g": "250"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for num in range(30):
            frame = av.VideoFrame.from_ndarray(random.integers(0, 256, (240, 320, 3), np.uint8), "rgb24")
            frame.pts, frame.time_base = num + 1, Fraction(1, 25)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: len(content) * 6 // 10])
    with open_film(tmp_path / "a.mkv") as film, pytest.raises(InvalidFilm, match="are there; --end"):
        list(film.frames())


@pytest.mark.parametrize("sound", ["", "aac"])
def test_frames_that_are_missing_are_counted(tmp_path, sound):
    """As of a download that broke off."""
    path = make_film(tmp_path / "a.mkv", num=50, codec="mpeg4", pixels="yuv420p", sound=sound)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with open_film(path) as film, pytest.raises(InvalidFilm, match=r"cut off: .* are there; --end") as raised:
        list(film.frames())
    named = float(str(raised.value).split("--end ")[1].split()[0])
    with open_film(path) as film:
        assert len(list(film.frames(end=0.4))) == 10
        assert len(list(film.frames(end=named))) >= 12
        with pytest.raises(InvalidFilm, match="cut off"):
            list(film.frames(end=1.8))
