"""Describes variations of a photograph, and records them: python tests/golden/make_augmented.py, from tests/.

The file here was recorded when each picture was varied by itself, by torch's `interpolate`, `affine_grid`, and JPEG
tables of its own: what batches do is compared with it.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from pictures import PHOTOGRAPH

from u2net.training.augment import augment
from u2net.training.examples import Key, generator

_NUM = 96


def described() -> dict[str, np.ndarray]:
    """Of each variation: means of cells of picture and mask, deviations, share of subject, and two of its spectrum."""
    with Image.open(PHOTOGRAPH) as photograph:
        image = torch.from_numpy(np.array(photograph.convert("RGB").resize((320, 320)))).permute(2, 0, 1)
    y, x = np.mgrid[:320, :320]
    mask = torch.from_numpy((np.hypot(x - 144, y - 176) < 96).astype(np.uint8) * np.uint8(255))[None]
    rngs = [generator(0, Key(0, number, 0)) for number in range(_NUM)]
    images, masks = augment(image.expand(_NUM, -1, -1, -1), mask.expand(_NUM, -1, -1, -1), "modern", 288, rngs)
    images, masks = images.double(), masks.double()
    cells = torch.nn.functional.avg_pool2d(torch.cat((images, masks), 1), 36)
    spectrum = torch.fft.rfft2(images.mean(1) - images.mean((1, 2, 3))[:, None, None]).abs().square()
    middling, fine = spectrum[:, 16:48, 16:48].mean((1, 2)).sqrt(), spectrum[:, 96:144, 96:].mean((1, 2)).sqrt()
    return {
        "cells": cells.numpy().astype(np.float16),
        "deviations": images.std((2, 3)).numpy(),
        "share": 100 * masks.mean((1, 2, 3)).numpy() / 255,
        "middling": middling.numpy() / 288,
        "fine": fine.numpy() / 288,
    }


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).with_name("augmented.npz"), **described())
