"""The sound of a film goes into its cut-out: copied where the container takes it, else encoded anew."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import OutputContainer

_INSTEAD = {"webm": "libopus"}
"""What a container gets whose own codecs the sound is not of; the others take AAC."""
_REFUSED = {"mov": ("opus", "flac", "truehd")}
"""What FFmpeg's containers do not take although their lists have it."""

_TOUCHING = 0.01  # seconds between packets that follow each other, at most


class Sound:
    """The first stream of sound of a film, from `start` on and before `end`, in seconds."""

    def __init__(self, path: str | os.PathLike[str], start: float = 0.0, end: float | None = None) -> None:
        import av

        self._source = av.open(os.fspath(path))
        self._stream = self._source.streams.audio[0]
        self._start, self._end = start, end
        self._lost: list[tuple[float, float]] = []  # from when to when, in seconds, nothing could be decoded
        self._container: Any = None
        self._target: Any = None
        self._packets: Iterator[tuple[float, Any]] = iter(())
        self._held: tuple[float, Any] | None = None

    @property
    def broken(self) -> list[str]:
        """What of it could not be decoded, and is missing."""
        parts = [(f"{begin:.2f}", "its end" if end == math.inf else f"{end:.2f} s") for begin, end in self._lost]
        return [f"the sound from {begin} to {end} cannot be decoded" for begin, end in parts]

    def begin(self, container: OutputContainer) -> None:
        """Add a stream to a film that is about to be written."""
        name = self._stream.codec_context.name
        self._container = container
        kind = container.format.name
        if name not in container.supported_codecs or name in _REFUSED.get(kind, ()):
            codec = _INSTEAD.get(kind, "aac")
            rate = 48_000 if codec == "libopus" else self._stream.codec_context.sample_rate
            self._target = container.add_stream(codec, rate=rate, layout=self._layout())
            self._packets = self._encoded()
        else:
            self._target = container.add_stream_from_template(self._stream)
            self._packets = self._copied()

    def _layout(self) -> Any:
        """Of its channels; what is not known of one or two is the usual."""
        layout = self._stream.codec_context.layout
        return {"1 channels": "mono", "2 channels": "stereo"}.get(layout.name, layout)

    def write_until(self, time: Fraction | None) -> None:
        """Write what is heard before `time`, or all that is left."""
        while True:
            if self._held is None:
                self._held = next(self._packets, None)
            if self._held is None or (time is not None and self._held[0] > time):
                return
            self._container.mux(self._held[1])
            self._held = None

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()

    def _heard(self) -> Iterator[tuple[float, Any]]:
        """The packets in the part that is asked for, and when each begins in it."""
        import av

        tick, begins, time = self._stream.time_base or Fraction(1, 1000), self._begins(), 0.0
        try:
            for packet in self._source.demux(self._stream):
                if packet.pts is None:
                    continue
                time = float(packet.pts * tick) - begins
                if self._start and time < self._start:  # with all of a film go the packets before its first frame
                    continue
                if self._end is not None and time >= self._end:
                    return
                yield time - self._start, packet
        except av.FFmpegError:
            self._lose(time, math.inf)

    def _begins(self) -> float:
        """When the film's pictures begin, in the container's time."""
        for stream in self._source.streams.video:
            if stream.start_time is not None and stream.time_base is not None:
                return float(stream.start_time * stream.time_base)
        return 0.0

    def _copied(self) -> Iterator[tuple[float, Any]]:
        tick = self._stream.time_base or Fraction(1, 1000)
        for time, packet in self._heard():
            shift = round(time / tick) - (packet.pts or 0)
            packet.pts = (packet.pts or 0) + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
            packet.stream = self._target
            yield time, packet

    def _encoded(self) -> Iterator[tuple[float, Any]]:
        import av

        before = self._begins() + self._start
        for time, packet in self._heard():
            made: list[tuple[float, Any]] = []
            try:
                for frame in packet.decode():
                    if frame.pts is not None and frame.time_base:
                        frame.pts -= round(before / frame.time_base)
                    made += self._made_of(frame)
            except (av.FFmpegError, ValueError):  # or its frames are of another kind than those before
                begin = time + self._start
                self._lose(begin, begin + float((packet.duration or 0) * packet.time_base))
            yield from made
        yield from self._made_of(None)

    def _lose(self, begin: float, end: float) -> None:
        """Note a part that could not be decoded; parts that follow each other are one."""
        first = self._lost.pop()[0] if self._lost and begin - self._lost[-1][1] < _TOUCHING else begin
        self._lost.append((first, end))

    def _made_of(self, frame: Any) -> Iterator[tuple[float, Any]]:
        """The packets that the encoder gives for a frame, or at its end."""
        for packet in self._target.encode(frame):
            yield float(packet.pts * packet.time_base), packet
