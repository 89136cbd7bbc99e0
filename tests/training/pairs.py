"""Small data sets made by hand."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_pairs(
    root: Path, num: int = 8, size: tuple[int, int] = (40, 32), name: str = "picture-{:02}", classes: int = 0
) -> Path:
    """Pictures of noise, each with a subject: a lighter square elsewhere in each; of several classes, of the last."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(num):
        write_pair(root, name.format(index), size, index, classes - 1 if classes else 255)
    return root


def write_pair(root: Path, name: str, size: tuple[int, int] = (40, 32), seed: int = 0, level: int = 255) -> None:
    rng = np.random.default_rng(seed)
    width, height = size
    mask = np.zeros((height, width), dtype=np.uint8)
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    mask[top : top + height // 3, left : left + width // 3] = 255
    image = rng.integers(0, 128, (height, width, 3), dtype=np.uint8) + mask[:, :, None] // 2
    Image.fromarray(image).save(root / "images" / f"{name}.png")
    Image.fromarray(mask // 255 * np.uint8(level)).save(root / "masks" / f"{name}.png")
