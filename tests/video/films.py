"""Small films: a red disc that moves over blue, which a network takes for the subject that sees red alone."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from u2net import Session
from u2net.models.card import Card
from u2net.models.transform import Transform
from u2net.video.container import load_av

av = pytest.importorskip("av")
load_av()

RED, BLUE = (200, 40, 30), (30, 60, 180)
SIZE = (96, 64)
BT709 = 1


def red_session() -> Session:
    """A session of a network that takes what is more red than blue for the subject."""
    transform = Transform((48, 32), mean=(0, 0, 0), std=(1, 1, 1), divisor="255", stretch=False)
    return Session(lambda batch: (batch[:, :1] > batch[:, 2:3]).astype(np.float32), Card("red", transform))


def disc(num: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A frame: the disc is 3 pixels further right in each."""
    image = Image.new("RGB", size, BLUE)
    x, y, r = 20 + 3 * num, size[1] // 2, size[1] // 4
    ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), RED)
    return image


def make_film(
    path: Path,
    *,
    num: int = 8,
    times: list[Fraction] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv444p",
    rotation: int = 0,
    sound: str = "",
    size: tuple[int, int] = SIZE,
    aspect: Fraction = Fraction(1),
    group: int = 0,
) -> Path:
    """A film of BT.709 in a narrow range, as exact as the codec can be; 25 frames a second unless `times` says.

    One frame of each `group` can be decoded by itself; 0 leaves that to the codec.
    """
    times = times or [Fraction(i, 25) for i in range(num)]
    tick = Fraction(1, 12_800)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "1"} if codec == "libx264" else {})
        if group:
            stream.gop_size = group
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.time_base = stream.codec_context.time_base = tick
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = 1
        context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        voice = container.add_stream(sound, rate=48_000, layout="stereo") if sound else None
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_image(disc(i, size)).reformat(
                format=pixels, dst_colorspace=BT709, dst_color_range=1
            )
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if voice:
            wave = (8000 * np.sin(np.arange(int(48_000 * float(times[-1]))) / 20)).astype(np.int16)
            tone = av.AudioFrame.from_ndarray(np.stack([wave, wave]).T.reshape(1, -1), format="s16", layout="stereo")
            tone.sample_rate, tone.pts = 48_000, 0
            resampler = av.AudioResampler(voice.codec_context.format, voice.codec_context.layout, 48_000)
            for ready in resampler.resample(tone):
                container.mux(voice.encode(ready))
            container.mux(voice.encode(None))
    return path


def frames_of(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """Time and RGBA, (H, W, 4), of each frame of a film, as other programs than ours read them."""
    if path.suffix in (".gif", ".webp"):
        found, time = [], Fraction(0)
        with Image.open(path) as image:
            for i in range(image.n_frames):
                image.seek(i)
                image.load()
                found.append((time, np.asarray(image.convert("RGBA"))))
                time += Fraction(image.info["duration"], 1000)
        return found
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = av.CodecContext.create("libvpx-vp9", "r") if path.suffix == ".webm" else stream.codec_context
        frames = [
            frame for packet in container.demux(stream) for frame in decoder.decode(packet if packet.size else None)
        ]
        return [(frame.pts * stream.time_base, frame.to_ndarray(format="rgba")) for frame in frames]
