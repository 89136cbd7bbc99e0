"""Frames become a film: WebM, QuickTime, MP4, animated GIF, WebP and PNG, or a folder of pictures."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.errors import ImageTooLarge, InvalidFilm
from u2net.images.save import encode
from u2net.system.files import atomic_write, folder_beside
from u2net.video.container import load_av
from u2net.video.film import BT709, RGB, Facts
from u2net.video.sound import Sound

if TYPE_CHECKING:
    import av

FrameImage = Image.Image | NDArray[np.uint16]
"""A frame to write: "RGBA", "RGB" or "L", or in 16 bits (H, W, 4) or (H, W)."""


class Kind(NamedTuple):
    """How a kind of film is written."""

    container: str
    codec: str
    pixels: dict[bool, str]
    """FFmpeg's name of what is stored, by whether the film has transparency; not there, it cannot have it."""
    options: dict[str, str]
    of_container: dict[str, str]
    has_sound: bool = False
    has_aspect: bool = False
    """Whether it says what shape pixels have; else they become square."""
    has_range: bool = True
    """Whether it says that levels are in the full range; else they are in the narrow one."""
    is_deep: bool = False
    """Whether it holds more than 8 bits a channel."""
    tick: Fraction | None = None
    """Seconds of which times are multiples, where the source's are not taken."""


_FOREVER = {"loop": "0"}
KINDS = {
    ".webm": Kind(
        "webm",
        "libvpx-vp9",
        {True: "yuva420p", False: "yuv420p"},
        {"crf": "16", "b": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "1", "lag-in-frames": "0"},
        {},
        has_sound=True,
        tick=Fraction(1, 1000),
    ),
    ".mov": Kind(
        "mov",
        "prores_ks",
        {True: "yuva444p10le", False: "yuv444p10le"},
        {"profile": "4444"},
        {},
        has_sound=True,
        has_aspect=True,
        has_range=False,
        is_deep=True,
    ),
    ".mp4": Kind(
        "mp4",
        "libx264",
        {False: "yuv420p"},
        {"crf": "16", "preset": "veryfast"},
        {},
        has_sound=True,
        has_aspect=True,
    ),
    ".gif": Kind("gif", "gif", {True: "rgba", False: "rgba"}, {}, _FOREVER, tick=Fraction(1, 100)),
    ".webp": Kind(
        "webp", "libwebp_anim", {True: "bgra", False: "bgra"}, {"quality": "90"}, _FOREVER, tick=Fraction(1, 1000)
    ),
    ".png": Kind("apng", "apng", {True: "rgba", False: "rgb24"}, {}, {"plays": "0"}, tick=Fraction(1, 1000)),
}
"""What films can become, by suffix."""

ANIMATIONS = (".gif", ".webp", ".png")


def is_opaque(suffix: str) -> bool:
    """Whether a kind of film has no transparency."""
    return suffix in KINDS and True not in KINDS[suffix].pixels


class Writer(ABC):
    """Takes the frames of one film, in their order."""

    @abstractmethod
    def write(self, image: FrameImage, time: Fraction) -> None:
        """Add a frame that is shown from `time` on, in seconds."""


@contextmanager
def new_writer(path: Path, facts: Facts, *, has_alpha: bool, sound: Sound | None = None) -> Iterator[Writer]:
    """A film that appears under `path` when the block ends well; otherwise nothing changes.

    Its kind follows the suffix, and a path without one is a folder of pictures, which must not exist. `facts` are of
    the film that the frames are of: size, rate, colours and pixels' shape are taken over; with `has_alpha` the frames
    have transparency. Raises InvalidFilm for what this kind cannot hold, and OSError.
    """
    if not path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        with folder_beside(path) as folder:
            yield _Folder(folder)
            folder.replace(path)
        return
    load_av()
    import av

    with atomic_write(path) as file:
        target = _Target(file)
        container = _Container(target, KINDS[path.suffix.lower()], facts, has_alpha=has_alpha, sound=sound)
        try:
            yield container
            container.finish()
            container.close()
        except (av.FFmpegError, OSError):
            if target.error is None:
                raise
            raise OSError(target.error.errno, target.error.strerror, str(path)) from None
        finally:
            with suppress(av.FFmpegError):  # the end of a film cannot be written where its middle could not
                container.close()


class _Target:
    """A file that FFmpeg writes. It loses the reasons why it cannot: `error` is the first."""

    def __init__(self, file: BinaryIO) -> None:
        self.name, self.seek, self.tell = file.name, file.seek, file.tell
        self._write = file.write
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        """See `BinaryIO`."""
        try:
            return self._write(content)
        except OSError as error:
            self.error = self.error or error
            raise


class _Folder(Writer):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._num = 0

    def write(self, image: FrameImage, time: Fraction) -> None:  # noqa: ARG002
        self._num += 1
        format_ = "tiff" if isinstance(image, np.ndarray) else "png"
        path = self._folder / f"{self._num:05}.{format_}"
        path.write_bytes(encode(image, cast(Any, format_)))


class _Container(Writer):
    """A film in one file, by PyAV."""

    def __init__(self, file: _Target, kind: Kind, facts: Facts, *, has_alpha: bool, sound: Sound | None) -> None:
        self._file, self._kind, self._facts, self._has_alpha = file, kind, facts, has_alpha
        self._tick = kind.tick or facts.tick
        self._colors = facts.colors
        if facts.colors.matrix == RGB:  # which luma and chroma are not made by
            self._colors = replace(facts.colors, matrix=BT709, full_range=False)
        self._range = 2 if self._colors.full_range and kind.has_range else 1  # FFmpeg's full and narrow one
        self._sound = sound if kind.has_sound else None
        self._last = -1
        self._container: Any = None
        self._stream: Any = None
        self._palette: _Palette | None = None

    def write(self, image: FrameImage, time: Fraction) -> None:
        import av

        pixels = np.asarray(image)
        if self._kind.codec == "libx264":  # whose sizes are even
            pixels = pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2]
        if self._container is None:
            self._begin(pixels.shape[1], pixels.shape[0])
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        order = "le" if sys.byteorder == "little" else "be"
        deep = pixels.dtype == np.uint16
        name = {(3, False): "rgb24", (4, False): "rgba", (3, True): f"rgb48{order}", (4, True): f"rgba64{order}"}
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), name[pixels.shape[2], deep])
        wanted = self._stream.pix_fmt if self._palette is None else "rgba"
        if (wanted, self._stream.width) != (frame.format.name, frame.width):
            in_yuv = wanted.startswith("yuv")
            frame = frame.reformat(
                width=self._stream.width,
                height=self._stream.height,
                format=wanted,
                dst_colorspace=self._colors.matrix if in_yuv else None,
                dst_color_range=self._range if in_yuv else None,
            )
        self._last = max(self._last + 1, round(time / self._tick))
        frame.pts, frame.time_base = self._last, self._tick
        if wanted.startswith("yuv"):  # ProRes takes them from frames
            frame.color_primaries, frame.color_trc = self._colors.primaries, self._colors.curve
        for ready in [frame] if self._palette is None else self._palette(frame):
            self._mux(self._stream.encode(ready))
        if self._sound:
            self._sound.write_until(time)

    def finish(self) -> None:
        """Write what encoder and sound still hold. Raises InvalidFilm if there was no frame."""
        if self._container is None:
            raise InvalidFilm("it has no frame in this part")
        if self._palette is not None:
            for ready in self._palette(None):
                self._mux(self._stream.encode(ready))
        self._mux(self._stream.encode())
        if self._sound:
            self._sound.write_until(None)

    def close(self) -> None:
        """Write the end, and let go of encoder and file, once."""
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _begin(self, width: int, height: int) -> None:
        import av

        kind, facts = self._kind, self._facts
        pixels = kind.pixels[self._has_alpha]
        self._container = av.open(self._file, "w", format=kind.container, options=kind.of_container)
        rate = min(facts.rate, 1 / self._tick)  # VP9 takes no frame that lasts less than a tick
        stream = self._container.add_stream(kind.codec, rate=rate, options=dict(kind.options))
        if not kind.has_aspect:
            width = max(1, round(width * facts.aspect))
        stream.width, stream.height = width, height
        stream.pix_fmt = "pal8" if kind.codec == "gif" else pixels
        stream.codec_context.time_base = self._tick
        stream.time_base = self._tick
        stream.codec_context.thread_type = "AUTO"
        if pixels.startswith("yuv"):
            context, colors = stream.codec_context, self._colors
            context.colorspace, context.color_range = colors.matrix, self._range
            context.color_primaries, context.color_trc = colors.primaries, colors.curve
        stream.codec_context.sample_aspect_ratio = facts.aspect if kind.has_aspect else Fraction(1)
        if kind.codec == "gif":
            self._palette = _Palette(width, height, self._tick)
        self._stream = stream
        if self._sound:
            self._sound.begin(self._container)
        try:
            self._container.start_encoding()
        except av.FFmpegError as error:
            raise ImageTooLarge(f"{kind.container} cannot hold frames of {width} × {height}: {error}") from None

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self._container.mux(packet)


class _Palette:
    """Gives each frame of a GIF the 255 colours that suit it best, and one for what is transparent."""

    def __init__(self, width: int, height: int, tick: Fraction) -> None:
        import av

        self._graph = graph = av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgba"), time_base=tick)
        split = graph.add("split")
        palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=1")
        use = graph.add("paletteuse", "new=1:dither=sierra2_4a:alpha_threshold=128")
        sink = graph.add("buffersink")
        source.link_to(split)
        split.link_to(palette, 0, 0)
        split.link_to(use, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()

    def __call__(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        import av

        self._graph.push(frame)
        while True:
            try:
                yield cast("av.VideoFrame", self._graph.pull())
            except (av.BlockingIOError, av.EOFError):
                return
