"""Frames in, cut-outs out: decoding, network, outline and encoding overlap, and frames stay in their order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from u2net.cutout.config import CutoutConfig
from u2net.cutout.cutter import Cutter
from u2net.cutout.finish import Finish
from u2net.cutout.outline import Outline
from u2net.images.limits import Limits
from u2net.inference.session import Session
from u2net.system.process import num_processors
from u2net.video.film import Facts, Frame, open_film
from u2net.video.sound import Sound
from u2net.video.steady import Seen, looked_at, small_picture, steadied
from u2net.video.writer import KINDS, FrameImage, is_opaque, new_writer

T = TypeVar("T")
U = TypeVar("U")

STEADY = 1.0
"""The default strength; docs/video.md has what it does to six clips."""


@dataclass(frozen=True)
class CutFrame:
    """A frame that is cut out."""

    image: FrameImage
    """As `u2net.remove` gives it: "RGBA", "RGB" over a background, "L" with `only_mask`; or in 16 bits an array."""
    frame: Frame
    """The frame that it was made of, and its time."""
    confidence: float
    """How sure the network is that it shows a subject, 0 to 1."""


def cut_out_frames(
    frames: Iterable[Frame], session: Session, config: CutoutConfig, steady: float = STEADY
) -> Iterator[CutFrame]:
    """The cut-out of each frame, in their order, as `config` asks for it.

    Outlines are steadied along the motion of the picture with a strength of 0, not at all, to 1; the frames must be
    those of one film, in their order. A few frames are in work at a time, however long the film is. Raises ValueError
    for a crop, for which all frames have to be known first, and what `u2net.remove` does.
    """
    if config.finish.crop is not None:
        raise ValueError("a crop has to suit all frames: cut_out_film looks at them first")
    return _cut(frames, session, config, config.finish, steady)


def _cut(
    frames: Iterable[Frame], session: Session, config: CutoutConfig, finish: Finish, steady: float
) -> Iterator[CutFrame]:
    outline = config.outline
    num = num_processors()
    with _pool(num) as pool:

        def look(frame: Frame) -> Callable[[], NDArray[np.float32]]:
            return pool.submit(session.look, frame.picture, outline.num_looks).result

        def glance(frame: Frame) -> Seen[Frame]:
            return Seen(frame, small_picture(frame.picture.rgb))

        def cut(seen: tuple[Frame, NDArray[np.float32]]) -> CutFrame:
            frame, output = seen
            picture = frame.picture.in_bits(config.bit_depth)
            prediction = session.read(output, picture.size)
            alpha = outline.alpha(picture, prediction)
            return CutFrame(finish.apply(picture, alpha), frame, prediction.confidence)

        if steady:
            begun = looked_at(_ahead(pool, glance, frames, num), look)
            seen = steadied(_early(begun, 2 * num), steady)
        else:
            seen = _ahead(pool, lambda frame: (frame, session.look(frame.picture, outline.num_looks)), frames, num)
        yield from _ahead(pool, cut, seen, num)


def cut_out_film(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    config: CutoutConfig | None = None,
    *,
    steady: float = STEADY,
    start: float = 0.0,
    end: float | None = None,
    session: Session | None = None,
    limits: Limits | None = None,
    progress: Callable[[int, Facts], object] = lambda *_: None,
) -> list[str]:
    """Cut the subject out of every frame of a film, and write the film that `target` names.

    Its suffix says what it becomes: .webm, .mov, .gif, .webp or .png with transparency, .mp4 over `config.background`
    or white; without a suffix a new folder of pictures. Times, sound, shape of pixels and colours are kept. Only frames
    from `start` on and before `end`, in seconds, are taken. The film appears whole, or nothing changes. `progress` is
    called with the number of frames that are written. Returns what was wrong with frames and sound of the source.

    Raises InvalidFilm for what is no film, or is cut off, ImageTooLarge, OSError, MissingExtra without PyAV, and what
    `u2net.remove` does.
    """
    config, target = config or CutoutConfig(), Path(target)
    with ExitStack() as stack:
        film = stack.enter_context(open_film(source, limits))
        config = fitting(config, target, film.facts)
        opened = session or stack.enter_context(Cutter(config, throughput=True).open())
        kind, sound = KINDS.get(target.suffix.lower()), None
        if kind is not None and kind.has_sound and film.facts.has_sound:
            sound = stack.enter_context(closing(Sound(source, start, end)))
        has_alpha = config.background is None and not config.only_mask and not is_opaque(target.suffix.lower())
        writer = stack.enter_context(new_writer(target, film.facts, has_alpha=has_alpha, sound=sound))
        finish = config.finish
        if finish.crop is not None:
            box = finish.crop(_seen(film.frames(start, end), opened, config.outline))
            finish = replace(finish, crop=lambda _: box)
        first = None
        for num, cut in enumerate(_cut(film.frames(start, end), opened, config, finish, steady), 1):
            first = cut.frame.time if first is None else first
            writer.write(cut.image, cut.frame.time - first)
            progress(num, film.facts)
    return film.broken + (sound.broken if sound else [])


def _seen(frames: Iterable[Frame], session: Session, outline: Outline) -> NDArray[np.uint8]:
    """The subject's alpha in all frames at once, uint8 (H, W): the largest of each pixel."""
    with _pool(num_processors()) as pool:
        masks = _ahead(pool, lambda frame: outline.predict(frame.picture, session).mask, frames, num_processors())
        seen = next(masks)
        for mask in masks:
            seen = np.maximum(seen, mask)
    return seen


def fitting(config: CutoutConfig, target: Path, facts: Facts) -> CutoutConfig:
    """The configuration of the frames of a film that becomes `target`. Raises ValueError where they don't agree."""
    if is_opaque(target.suffix.lower()):
        return replace(config, format="jpg", bit_depth=8)  # which has no transparency either, and gets white behind it
    kind = KINDS.get(target.suffix.lower())
    if facts.bits > 8 and (kind is None or kind.is_deep):
        return replace(config, format="tiff", bit_depth=16)
    return replace(config, format="png", bit_depth=8)


@contextmanager
def _pool(num: int) -> Iterator[ThreadPoolExecutor]:
    """Threads; what they have not begun at the end is left."""
    pool = ThreadPoolExecutor(num, "u2net-film")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T], num: int) -> Iterator[U]:
    """What `work` makes of each item, in their order; `num` beyond the one that is waited for are in work."""
    for future in _early((pool.submit(work, item) for item in items), num):
        yield future.result()


def _early(items: Iterable[T], num: int) -> Iterator[T]:
    """The items, each taken while `num` before it are still to be used."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > num:
            yield waiting.popleft()
    yield from waiting
