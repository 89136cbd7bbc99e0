"""How pictures are cut out, as one value, and the callable made of it: one way for a picture, a pool and a cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from u2net.cutout.finish import Finish
from u2net.cutout.outline import Outline
from u2net.errors import InvalidImage, MissingExtra, NoSubject, reason
from u2net.images.exif import kept_exif
from u2net.images.load import load_image
from u2net.images.picture import Picture
from u2net.images.save import Format, encode
from u2net.inference.open import new_session
from u2net.inference.runtimes import Precision, Runtime
from u2net.inference.session import EMPTY, Session
from u2net.models.zoo import DEFAULT

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class CutoutConfig:
    """What is made of every picture, and by what. May be pickled. Raises ValueError for what 16 bits do not bear."""

    model: str = DEFAULT
    """A name in `MODELS`, or a file's path."""
    runtime: Runtime = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    """Of the runtime, in each process; None leaves their number to it."""
    outline: Outline = field(default_factory=Outline)
    finish: Finish = field(default_factory=Finish)
    """Its backdrop is one of `u2net.cutout.compose`, which may be pickled."""
    format: Format = "png"
    bit_depth: Literal[8, 16] = 8
    """Bits per channel of the file: 16 for "tiff" alone, without shadow, backdrop and rembg's matting."""
    png_level: int = 1
    lossy_quality: int | None = None
    """1 to 100, of the colours of a lossy format; None is the format's own."""
    alpha_quality: int | None = None
    """0 to 100, of WebP's transparency; None is exact."""
    exif: Literal["strip", "keep", "all"] = "strip"
    """What the camera noted: "keep" leaves out where it was."""
    on_empty: Literal["keep", "skip", "fail"] = "keep"
    """What becomes of pictures that all but surely show no subject."""

    def __post_init__(self) -> None:
        if self.bit_depth == 16:
            if self.format != "tiff":
                raise ValueError(f"16 bits per channel are written as tiff, not as {self.format}")
            self.outline.check_16_bits()
            self.finish.check_16_bits()

    def asked(self) -> dict[str, Any]:
        """Everything that decides what files hold, as values of JSON; pictures are their digests.

        Threads are left out: with more of them the same is made.
        """
        return {f.name: _told(getattr(self, f.name)) for f in fields(self) if f.name != "threads"}


@dataclass(frozen=True)
class Cut:
    """What came of one picture."""

    status: Status
    content: bytes = b""
    """The encoded file; empty unless it is done."""
    reason: str = ""
    """One line for what was not done."""
    confidence: float | None = None
    """How sure it is that the picture shows a subject, 0 to 1; None where nobody looked."""


class Cutter:
    """Makes an encoded cut-out of a path or of an encoded picture's bytes.

    Its session is opened with the first picture and serves all that come; it may be pickled, and then is opened anew.
    `progress` shows a download of the model on stderr.
    """

    def __init__(self, config: CutoutConfig, *, progress: bool = False) -> None:
        self.config = config
        self._progress = progress
        self._session: Session | None = None

    def __reduce__(self) -> tuple[type[Cutter], tuple[CutoutConfig]]:
        return Cutter, (self.config,)

    def __call__(self, source: Path | bytes, *, is_last: bool = False) -> Cut:
        """What comes of a picture; one that cannot be cut out has failed, with a reason, and raises nothing.

        After the last one's mask the session is closed: the network's memory then serves the picture.
        Raises what `open` does.
        """
        load: Callable[[], Picture]
        if self._session is None:
            # The first picture is decoded while the runtime is loaded and reads the model.
            with ThreadPoolExecutor(1) as pool:
                load = pool.submit(self._load, source).result
                self.open()
        else:
            load = partial(self._load, source)
        try:
            return self._cut(load(), is_last=is_last)
        except NoSubject as error:
            status: Status = "skipped" if self.config.on_empty == "skip" else "failed"
            return Cut(status, reason=reason(error), confidence=error.confidence)
        except (InvalidImage, MissingExtra, OSError, MemoryError) as error:
            return Cut("failed", reason=reason(error))

    def open(self) -> Session:
        """The session, opened now if it is not. Raises what `u2net.new_session` does."""
        if self._session is None:
            asked = self.config
            self._session = new_session(
                asked.model,
                runtime=asked.runtime,
                precision=asked.precision,
                threads=asked.threads,
                progress=self._progress,
            )
        return self._session

    def close(self) -> None:
        """Let go of the session; the next picture opens another."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _load(self, source: Path | bytes) -> Picture:
        return load_image(source, bit_depth=self.config.bit_depth)

    def _cut(self, picture: Picture, *, is_last: bool) -> Cut:
        config, session = self.config, self.open()
        prediction = config.outline.predict(picture, session)
        if is_last:
            self.close()
        if config.on_empty != "keep" and prediction.confidence < EMPTY:
            raise NoSubject(prediction.confidence)
        alpha = config.outline.alpha(picture, prediction, session.card.transform)
        image = config.finish.apply(picture, alpha, in_place=True)
        profile, exif = picture.icc_profile, self._exif(picture)
        del picture, alpha  # with 16 bits larger than the file
        if isinstance(image, Image.Image) and config.format == "jpg" and not config.finish.only_mask:
            image = image.convert("RGB")
        content = encode(
            image,
            config.format,
            profile,
            png_level=config.png_level,
            quality=config.lossy_quality,
            alpha_quality=config.alpha_quality,
            exif=exif,
        )
        return Cut("done", content, confidence=prediction.confidence)

    def _exif(self, picture: Picture) -> bytes | None:
        asked = self.config.exif
        return None if asked == "strip" else kept_exif(picture.exif, place=asked == "all")


def _told(value: Any) -> Any:
    """A value of JSON that stands for a field's."""
    if is_dataclass(value):
        return {f.name: _told(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, partial):
        return [_told(value.func), *map(_told, value.args)]
    if isinstance(value, Image.Image):
        return hashlib.sha256(repr((value.mode, value.size)).encode() + value.tobytes()).hexdigest()
    if isinstance(value, tuple):
        return list(value)
    return value.__name__.strip("_") if callable(value) else value
