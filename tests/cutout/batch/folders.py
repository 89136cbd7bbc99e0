"""Folders of small pictures, and processes that make something quicker of them than cut-outs."""

import hashlib
import os
import signal
import time
from pathlib import Path

import numpy as np
from PIL import Image

from u2net.cutout.batch.plan import Outcome
from u2net.cutout.config import CutoutConfig
from u2net.cutout.cutter import Cut
from u2net.images.limits import LIMITS


def write_pictures(folder: Path, num: int, *, seed: int = 0) -> list[Path]:
    """Small pictures of noise around a disc, each another, one in ten as JPEG and the rest as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :64]
    paths = []
    for i in range(num):
        pixels = rng.integers(90, 130, (48, 64, 3), np.uint8)
        pixels[(y - 24) ** 2 + (x - 10 - i % 44) ** 2 < 150] = rng.integers(0, 256, 3)
        path = folder / f"{i:04}.{'jpg' if i % 10 == 9 else 'png'}"
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths


class QuickCutter:
    """Stands for a Cutter in processes of a pool: turns bytes around, and does what a picture's first word says."""

    config = CutoutConfig()
    limits = LIMITS

    def open(self) -> None:
        pass

    def __call__(self, source: bytes) -> Cut:
        word, _, rest = source.partition(b" ")
        if word == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == b"kill-once" and not os.path.exists(rest.decode()):  # noqa: PTH110
            Path(rest.decode()).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if word == b"wait":
            time.sleep(float(rest))
        if word == b"bug":
            raise ZeroDivisionError("a mistake")
        if word == b"bad":
            return Cut("failed", reason="not a picture")
        if word == b"empty":
            return Cut("skipped", reason="no subject found (confidence 0.03)", confidence=0.03)
        return Cut("done", source[::-1], confidence=0.9)


def write_words(folder: Path, **words: str) -> dict[str, Path]:
    """Files for QuickCutter."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in words.items():
        (folder / f"{name}.jpg").write_text(text)
    return {name: folder / f"{name}.jpg" for name in words}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def statuses(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.source.stem: outcome.status for outcome in outcomes}
