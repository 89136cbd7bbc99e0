"""Films that FFmpeg reads, through PyAV."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from u2net.errors import InvalidFilm, MissingExtra
from u2net.images.picture import Picture
from u2net.video.film import MILLISECOND, Colors, Facts, Film, Frame, as_picture

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

_CUT_OFF = 3  # frames that may lack at the end of a film that states its length


def load_av() -> None:
    """Import PyAV, quietly. Raises MissingExtra."""
    try:
        import av
    except ImportError:
        raise MissingExtra("films need: pip install 'u2net[video]'") from None
    # Errors come back as exceptions. With PyAV's `set_level` FFmpeg's threads would wait for Python, to log, while it
    # waits for these threads to end.
    av.logging.set_libav_level(av.logging.PANIC)


class Container(Film):
    """A film that FFmpeg reads."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        load_av()
        self._path = os.fspath(path)
        self._open()
        self._first = self._peek()
        self.facts = self._facts()

    def _open(self) -> None:
        """Stand before the first frame."""
        import av

        try:
            self._container: InputContainer = av.open(self._path)
        except av.FFmpegError as error:
            raise InvalidFilm(f"no film that FFmpeg reads, or one that is cut off: {_words(error)}") from None
        self._stream = _picture_stream(self._container)
        decoder = self._stream.codec_context
        if decoder is None or not decoder.width:
            raise InvalidFilm("its pictures are of a kind that FFmpeg does not decode")
        decoder.thread_type = "AUTO"
        self._decoder: Any = decoder
        if self._stream.metadata.get("alpha_mode") == "1":  # which FFmpeg's own decoder of VP8 and VP9 leaves out
            self._decoder = av.CodecContext.create(f"libvpx{'-vp9' if decoder.name == 'vp9' else ''}", "r")

    def close(self) -> None:
        """See `Film`."""
        self._container.close()

    def _peek(self) -> av.VideoFrame:
        """The first frame that can be decoded: only frames know how they are turned."""
        for time, frame in self._decoded():
            self._begins = time
            return frame
        raise InvalidFilm("it has no frame that can be decoded")

    def _facts(self) -> Facts:
        stream, frame = self._stream, self._first
        turned = frame.rotation % 180 != 0
        aspect = stream.sample_aspect_ratio or Fraction(1)
        duration = self._container.duration
        return Facts(
            size=(frame.height, frame.width) if turned else (frame.width, frame.height),
            rate=stream.average_rate or stream.guessed_rate or Fraction(25),
            duration=None if duration is None else duration / 1e6,
            num_frames=stream.frames or None,
            bits=max(component.bits for component in frame.format.components),
            aspect=1 / aspect if turned else aspect,
            colors=Colors(
                frame.colorspace,
                frame.color_range == 2,  # 2 is full range
                frame.color_primaries,
                frame.color_trc,
            ),
            has_sound=bool(self._container.streams.audio),
            tick=stream.time_base or MILLISECOND,
        )

    def frames(self, start: float = 0.0, end: float | None = None) -> Iterator[Frame]:
        """See `Film`."""
        num, sought = 0, self._seek(start)
        for time, frame in self._decoded():
            num += 1
            since = time - self._begins
            if end is not None and float(since) >= end:
                break
            if float(since) < start:
                continue
            if frame.is_corrupt:
                self.broken.append(f"the frame at {float(since):.2f} s is damaged")
            yield Frame(self._picture(frame), since)
        else:
            self._check_end(None if sought else num, end)

    def _seek(self, start: float) -> bool:
        """Go to a frame from which the one at `start` can be decoded; whether frames are left out so."""
        import av

        if start > 0:
            place = round((self._begins + Fraction(start)) / (self._stream.time_base or MILLISECOND))
            with suppress(av.FFmpegError):
                self._go_to(place)
                found = next(self._decoded(), None)  # where an index is damaged, anything may come
                if found and found[1].pts is not None and found[0] - self._begins <= start:
                    self._go_to(place)
                    return True
        self.close()  # to seek the beginning fails in some films that are cut off
        self._open()
        self.broken.clear()
        return False

    def _go_to(self, place: int) -> None:
        """Read on from a frame at or before a place in the stream's own ticks."""
        self._container.seek(place, stream=self._stream)
        self._decoder.flush_buffers()
        self.broken.clear()

    def _decoded(self) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        import av

        stream, tick = self._stream, self._stream.time_base or MILLISECOND
        begins = stream.start_time or 0
        self._ends, self._hidden = 0.0, 0  # seconds; packets that are decoded for others, and not shown
        last = -1
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                continue
            self._hidden += packet.is_discard
            if packet.pts is not None:
                self._ends = max(self._ends, float((packet.pts - begins + (packet.duration or 0)) * tick))
            try:
                frames = self._decoder.decode(packet if packet.size else None)
            except av.error.EOFError:
                return
            except av.FFmpegError as error:
                place = "" if packet.pts is None else f" at {float((packet.pts - begins) * tick):.2f} s"
                self.broken.append(f"the frame{place} cannot be decoded: {_words(error)}")
                continue
            for frame in frames:
                ticks = last + 1 if frame.pts is None else frame.pts
                if ticks > last or last < 0:
                    last = ticks
                    yield ticks * tick, frame
                else:
                    self.broken.append(f"a second frame at {float((ticks - begins) * tick):.2f} s is left out")

    def _check_end(self, num: int | None, end: float | None) -> None:
        """Raise InvalidFilm if a film that was read to its last frame, or to `end`, lacks some.

        `num` is how many frames it had; None if some were left out.
        """
        if num == 0:
            raise InvalidFilm("it has no frame that can be decoded")
        slack = float(_CUT_OFF / self.facts.rate)
        if end is not None and self._ends >= end - slack:
            return
        known, length, lacking = self.facts.num_frames, self._length(), None
        if num is not None and known is not None:
            if num + self._hidden + len(self.broken) < known:
                lacking = f"{num} of its {known} frames are there"
        elif length is not None and self._ends < length - slack:
            lacking = f"{self._ends:.1f} of its {length:.1f} seconds are there"
        if lacking:
            raise InvalidFilm(f"it is cut off: {lacking}; --end {self._ends:.2f} takes these")

    def _length(self) -> float | None:
        """How many seconds of pictures the film says that it has; its sound may be longer."""
        if clock := re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", self._stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = map(float, clock.groups())
            return 3600 * hours + 60 * minutes + seconds - max(0.0, float(self._begins))  # Matroska's: of its end
        if self.facts.num_frames and self._stream.duration:  # what counts its frames knows their length, too
            return float(self._stream.duration * self.facts.tick)
        return None if self.facts.has_sound else self.facts.duration

    def _picture(self, frame: av.VideoFrame) -> Picture:
        colors, deep = self.facts.colors, self.facts.bits > 8
        has_alpha = any(component.is_alpha for component in frame.format.components)
        kind = ("rgba64" if has_alpha else "rgb48") if deep else ("rgba" if has_alpha else "rgb24")
        kind += ("le" if sys.byteorder == "little" else "be") if deep else ""
        converted = frame.reformat(format=kind, src_colorspace=colors.matrix, dst_color_range=2)
        pixels = np.rot90(converted.to_ndarray(), frame.rotation // 90)
        return as_picture(np.ascontiguousarray(pixels))


def _picture_stream(container: InputContainer) -> VideoStream:
    """The film's pictures, not the picture of a record's cover."""
    for stream in container.streams.video:
        if "attached_pic" not in stream.disposition.name.lower() if stream.disposition.name else True:
            return stream
    what = "sound alone" if container.streams.audio else "no pictures"
    container.close()
    raise InvalidFilm(f"it has {what}")


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error).lower()
