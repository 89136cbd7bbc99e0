"""Photographs of many megapixels, made of small ones."""

import numpy as np
from PIL import Image, ImageFilter


def enlarge(photograph: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An RGB photograph at a larger size.

    Its own fine detail (what a blur of one pixel takes away) is laid over as tiles: photographs look alike at every
    scale, and an encoder's work is the detail.
    """
    width, height = size
    detail = np.asarray(photograph, np.int16) - np.asarray(photograph.filter(ImageFilter.GaussianBlur(1)), np.int16)
    mirrored = np.concatenate([detail, detail[::-1]])
    mirrored = np.concatenate([mirrored, mirrored[:, ::-1]], axis=1)  # so that tiles meet without a seam
    tiles = np.tile(mirrored, (-(-height // len(mirrored)), -(-width // mirrored.shape[1]), 1))[:height, :width]
    large = np.asarray(photograph.resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray((large + tiles).clip(0, 255).astype(np.uint8))
