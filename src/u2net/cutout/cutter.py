"""Encoded pictures in, encoded cut-outs out: the callable that one picture, a pool and a cluster have in common."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from u2net.cutout.config import CutoutConfig
from u2net.cutout.remove import cut_out
from u2net.errors import InvalidImage, MissingExtra, NoSubject, reason
from u2net.images.exif import kept_exif
from u2net.images.limits import Limits, own_limits
from u2net.images.load import load_image
from u2net.images.picture import Picture
from u2net.images.save import encode
from u2net.inference.open import new_session
from u2net.inference.session import EMPTY, Prediction, Session

Status = Literal["done", "skipped", "failed"]


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
    `limits` are of the pictures, by default `own_limits()`; `progress` shows a download of the model on stderr;
    `throughput` is for a session that several threads use at a time.
    """

    def __init__(
        self, config: CutoutConfig, limits: Limits | None = None, *, progress: bool = False, throughput: bool = False
    ) -> None:
        self.config = config
        self.limits = limits or own_limits()
        _ = config.finish  # reads a picture behind: other machines may not have its file, and get it pickled
        self._progress, self._throughput = progress, throughput
        self._session: Session | None = None

    def __reduce__(self) -> tuple[type[Cutter], tuple[CutoutConfig, Limits]]:
        return Cutter, (self.config, self.limits)

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
                throughput=self._throughput,
                progress=self._progress,
            )
        return self._session

    def close(self) -> None:
        """Let go of the session; the next picture opens another."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _load(self, source: Path | bytes) -> Picture:
        return load_image(source, self.limits, bit_depth=self.config.bit_depth)

    def _cut(self, picture: Picture, *, is_last: bool) -> Cut:
        config, confidence = self.config, 1.0

        def check(prediction: Prediction) -> None:
            nonlocal confidence
            confidence = prediction.confidence
            if is_last:
                self.close()
            if config.on_empty != "keep" and confidence < EMPTY:
                raise NoSubject(confidence)

        made = cut_out(picture, self.open(), config.outline, config.finish, check=check, in_place=True)
        profile, dpi, exif = picture.icc_profile, picture.dpi, None
        if config.exif != "strip":
            exif = kept_exif(picture.exif, place=config.exif == "all")
        del picture  # larger than the file
        content = encode(
            made,
            config.format,
            profile,
            png_level=config.png_level,
            quality=config.lossy_quality,
            alpha_quality=config.alpha_quality,
            exif=exif,
            dpi=dpi,
        )
        return Cut("done", content, confidence=confidence)
