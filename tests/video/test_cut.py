"""From a film to its cut-out: frames, times, sound, crop, and nothing that is half done."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2net.cutout.config import CutoutConfig
from u2net.errors import InvalidFilm
from u2net.images.load import load_image
from u2net.video import Frame, cut_out_film, cut_out_frames, open_film

from .films import BLUE, SIZE, av, disc, frames_of, make_film, red_session


def alpha_of(num: int) -> np.ndarray:
    return np.asarray(disc(num))[:, :, 0] > 100


@pytest.mark.parametrize("steady", [0, 1])
def test_each_frame_is_cut_out_at_its_time(tmp_path, steady):
    times = [Fraction(t, 1000) for t in (0, 40, 90, 300, 320, 600)]
    source = make_film(tmp_path / "a.mkv", times=times)
    assert cut_out_film(source, tmp_path / "b.webm", steady=steady, session=red_session()) == []
    found = frames_of(tmp_path / "b.webm")
    assert [time for time, _ in found] == times
    for i, (_, pixels) in enumerate(found):
        assert ((pixels[:, :, 3] > 127) ^ alpha_of(i)).mean() < 0.02


def test_a_film_over_a_colour(tmp_path):
    source = make_film(tmp_path / "a.mp4")
    cut_out_film(source, tmp_path / "b.mp4", CutoutConfig(background="#00ff00"), session=red_session())
    _, pixels = frames_of(tmp_path / "b.mp4")[2]
    assert np.abs(pixels[2, 2, :3].astype(int) - (0, 255, 0)).max() <= 3


def test_mp4_without_a_background_is_over_white(tmp_path):
    cut_out_film(make_film(tmp_path / "a.mp4"), tmp_path / "b.mp4", session=red_session())
    assert frames_of(tmp_path / "b.mp4")[0][1][2, 2, :3].min() >= 252


def test_a_mask_as_a_film(tmp_path):
    cut_out_film(make_film(tmp_path / "a.mp4"), tmp_path / "b.mp4", CutoutConfig(only_mask=True), session=red_session())
    _, pixels = frames_of(tmp_path / "b.mp4")[3]
    assert ((pixels[:, :, 1] > 127) ^ alpha_of(3)).mean() < 0.02


@pytest.mark.parametrize(("suffix", "expected"), [("mp4", "aac"), ("mov", "aac"), ("webm", "opus")])
def test_sound_is_kept(tmp_path, suffix, expected):
    source = make_film(tmp_path / "a.mp4", num=50, sound="aac")
    cut_out_film(source, tmp_path / f"b.{suffix}", session=red_session())
    with av.open(str(source)) as before, av.open(str(tmp_path / f"b.{suffix}")) as after:
        (stream,) = after.streams.audio
        assert (stream.codec_context.name, stream.codec_context.layout.name) == (expected, "stereo")
        packets = [[bytes(p) for p in c.demux(audio=0) if p.size] for c in (before, after)]
    assert (packets[0] == packets[1]) is (expected == "aac")
    times = heard_at(tmp_path / f"b.{suffix}")
    assert times[0] == pytest.approx(0, abs=0.03)
    assert times[-1] == pytest.approx(49 / 25, abs=0.1)
    assert max(np.diff(times)) < 0.03  # no gap


@pytest.mark.parametrize(
    ("suffix", "codec", "end"),
    [("webm", "pcm_s16le", None), ("webm", "pcm_s16le", 1.2), ("mp4", "pcm_u8", None), ("mov", "libopus", 1.2)],
)
def test_sound_that_is_encoded_is_in_step(tmp_path, suffix, codec, end):
    """Here it begins 0.3 s after the pictures, with a click at 1 s, of a kind that the container does not take."""
    source = make_film(tmp_path / "a.mkv", num=50)
    with av.open(str(source)) as film, av.open(str(tmp_path / "b.mkv"), "w") as both:
        pictures = both.add_stream_from_template(film.streams.video[0])
        sound = both.add_stream(codec, rate=48_000, layout="mono")
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = pictures
                both.mux(packet)
        wave = np.zeros((1, 48_000), np.int16)
        wave[0, 33_600:33_840] = 20_000
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 14_400, Fraction(1, 48_000)
        both.mux([*sound.encode(frame), *sound.encode(None)])
    cut_out_film(tmp_path / "b.mkv", tmp_path / f"c.{suffix}", start=0.2, end=end, session=red_session())
    with av.open(str(tmp_path / f"c.{suffix}")) as film:
        loudest, when = max((np.abs(f.to_ndarray().astype(float)).max(), f.time) for f in film.decode(audio=0))
    assert loudest > 0
    assert when == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("pixels", ["yuvj444p", "gray", "bgr0"])
@pytest.mark.parametrize("suffix", ["mov", "webm"])
def test_full_range_grey_and_rgb_keep_their_levels(tmp_path, pixels, suffix):
    tones = np.zeros((64, 96, 3), np.uint8)
    tones[:, :32], tones[:, 32:64], tones[:, 64:] = 40, 128, 215
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1" if pixels != "yuvj444p" else "mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        if pixels == "yuvj444p":
            stream.codec_context.color_range = 2
        frame = av.VideoFrame.from_ndarray(tones, "rgb24").reformat(format=pixels, dst_color_range=2)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    cut_out_film(tmp_path / "a.mkv", tmp_path / f"b.{suffix}", CutoutConfig(invert=True), session=red_session())
    ((_, found),) = frames_of(tmp_path / f"b.{suffix}")
    for x in (16, 48, 80):
        assert np.abs(found[32, x].astype(int) - [*tones[32, x], 255]).max() <= 3


@pytest.mark.parametrize(
    ("damaged", "start", "named"),
    [
        (slice(20, 23), 0.0, ["the sound from 0.41 to 0.47 s cannot be decoded"]),
        (slice(40, 41), 0.5, ["the sound from 0.83 to 0.85 s cannot be decoded"]),
        (slice(90, 91), 0.0, ["the sound from 1.90 to 1.92 s cannot be decoded"]),  # after the last frame
    ],
)
def test_damaged_sound_is_named_and_the_rest_is_kept(tmp_path, damaged, start, named):
    times = [Fraction(i, 25) for i in range(40)] + [Fraction(49, 25)]
    source = make_film(tmp_path / "a.mkv", times=times, sound="aac")
    with av.open(str(source)) as film:
        packets = [bytes(packet) for packet in film.demux(audio=0)][damaged]
    content = source.read_bytes()
    for packet in packets:
        assert content.count(packet) == 1
        content = content.replace(packet, b"\xff" * len(packet))
    source.write_bytes(content)
    end = 1.95 if damaged.start == 90 else None
    assert cut_out_film(source, tmp_path / "b.webm", start=start, end=end, session=red_session()) == named
    assert heard_at(tmp_path / "b.webm")[-1] == pytest.approx((end or 49 / 25) - start, abs=0.1)


def heard_at(path: Path) -> list[float]:
    """When each frame of a film's sound begins."""
    with av.open(str(path)) as film:
        return [frame.time for frame in film.decode(audio=0)]


def test_a_part_of_a_film_with_its_sound(tmp_path):
    source = make_film(tmp_path / "a.mp4", num=50, sound="aac")
    cut_out_film(source, tmp_path / "b.mp4", start=0.4, end=1.2, session=red_session())
    assert [time for time, _ in frames_of(tmp_path / "b.mp4")] == [Fraction(i, 25) for i in range(20)]
    with av.open(str(tmp_path / "b.mp4")) as film:
        heard = [float(packet.pts * packet.time_base) for packet in film.demux(audio=0) if packet.size]
    assert 0 <= min(heard) < 0.05
    assert 0.7 < max(heard) < 0.85


def test_ten_bits_stay_in_prores(tmp_path):
    source = make_film(tmp_path / "a.mkv", pixels="yuv444p10le", num=2)
    cut_out_film(source, tmp_path / "b.mov", CutoutConfig(keep_colors=True), session=red_session())
    with av.open(str(source)) as before, av.open(str(tmp_path / "b.mov")) as after:
        one, other = (next(c.decode(video=0)).to_ndarray(format="rgb48le").astype(int) for c in (before, after))
    inside = np.asarray(disc(0).resize(SIZE))[:, :, 0] > 150
    assert np.abs(one - other)[inside].mean() < 257


def test_ten_bits_over_a_background_stay_too(tmp_path):
    source = make_film(tmp_path / "a.mkv", pixels="yuv444p10le", num=2)
    cut_out_film(source, tmp_path / "b.mov", CutoutConfig(background="black..#010101"), session=red_session())
    with av.open(str(tmp_path / "b.mov")) as film:
        frame = next(film.decode(video=0)).to_ndarray(format="rgb48le").astype(int)
    middle = np.unique(np.median(frame[:, -4:], axis=1), axis=0)  # of 8 bits there would be 2 levels
    assert len(middle) >= 3


@pytest.mark.parametrize("name", ["b.mp4", "b.webm", "b.gif"])
def test_ten_bits_become_eight_where_there_are_no_more(tmp_path, name):
    source = make_film(tmp_path / "a.mkv", pixels="yuv420p10le", num=2)
    cut_out_film(source, tmp_path / name, CutoutConfig(shadow=True), session=red_session())
    assert len(frames_of(tmp_path / name)) == 2


def test_the_crop_holds_the_subject_of_all_frames(tmp_path):
    source = make_film(tmp_path / "a.mkv", num=12)
    cut_out_film(source, tmp_path / "frames", CutoutConfig(crop=True), session=red_session())
    found = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "frames").iterdir())]
    ((height, width),) = {pixels.shape[:2] for pixels in found}
    assert height == pytest.approx(32, abs=4)
    assert width == pytest.approx(32 + 11 * 3, abs=5)
    for i, pixels in enumerate(found):
        assert (pixels[:, :, 3] > 127).sum() == pytest.approx(alpha_of(i).sum(), rel=0.05)


def test_frames_from_anywhere(tmp_path):
    frames = [Frame(load_image(disc(i)), Fraction(i, 25)) for i in range(4)]
    found = list(cut_out_frames(iter(frames), red_session(), CutoutConfig()))
    assert [cut.frame for cut in found] == frames
    assert all(cut.image.mode == "RGBA" for cut in found)
    with pytest.raises(ValueError, match="crop"):
        cut_out_frames(iter(frames), red_session(), CutoutConfig(crop=True))


def test_a_few_frames_are_in_work_at_a_time():
    """However long the film is."""
    begun, most, taken = 0, 0, 0

    def frames():
        nonlocal begun
        for i in range(200):
            begun += 1
            yield Frame(load_image(disc(i % 8)), Fraction(i, 25))

    for _ in cut_out_frames(frames(), red_session(), CutoutConfig(), steady=1):
        taken += 1
        most = max(most, begun - taken)
    assert taken == 200
    assert most <= 24


def test_an_animated_picture_keeps_its_transparency(tmp_path):
    images = [disc(i).convert("RGBA") for i in range(3)]
    for image in images:
        image.paste((0, 0, 0, 0), (0, 0, SIZE[0], SIZE[1] // 2))
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=50, lossless=True)
    cut_out_film(tmp_path / "a.webp", tmp_path / "b.png", session=red_session())
    found = frames_of(tmp_path / "b.png")
    assert [float(time) for time, _ in found] == pytest.approx([0, 0.05, 0.1])
    assert not found[1][1][: SIZE[1] // 2 - 1, :, 3].any()
    assert found[1][1][SIZE[1] // 2 + 4, 23, 3] == 255


def test_what_cannot_be_read_leaves_nothing(tmp_path):
    content = make_film(tmp_path / "b.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "b.mp4").unlink()
    for name in ("c.webm", "frames"):
        with pytest.raises(InvalidFilm):
            cut_out_film(tmp_path / "a.mp4", tmp_path / name, session=red_session())
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_film_is_stopped_without_a_trace(tmp_path):
    source = make_film(tmp_path / "a.mp4")

    def progress(num, _facts):
        if num == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_out_film(source, tmp_path / "b.webm", session=red_session(), progress=progress)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_colours_of_what_is_kept_are_the_films(tmp_path):
    """Within two levels, in pictures of the frames."""
    source = make_film(tmp_path / "a.mkv")
    cut_out_film(source, tmp_path / "frames", session=red_session())
    with open_film(source) as film:
        frames = [frame.picture.rgb for frame in film.frames()]
    for i, frame in enumerate(frames, 1):
        with Image.open(tmp_path / f"frames/{i:05}.png") as image:
            pixels = np.asarray(image, int)
        opaque = pixels[:, :, 3] == 255
        assert opaque.any()
        assert np.abs(pixels[:, :, :3] - np.asarray(frame, int))[opaque].max() <= 2
    assert BLUE  # what is left out
