"""Record what rembg makes of a soft mask; run where rembg is installed, from the folder of the project.

    .peers/rembg/bin/python tests/golden/make_rembg.py

`rembg_post_process.npz` holds `mask`, uint8 (96, 128): broad slopes that cross the threshold, hairs, gaps and specks;
`hard`, the packed bits of rembg's `post_process` of it; and `version`, rembg's.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from rembg.bg import post_process

random = np.random.default_rng(0)
slopes = Image.fromarray(random.integers(0, 256, (6, 8), dtype=np.uint8))
mask = np.array(slopes.resize((128, 96), Image.Resampling.BICUBIC)) // 6 * 6  # few levels make a small file
mask[:, 40] = mask[30, :] = 255
mask[:, 90:92] = mask[70:73, :] = 0
specks = random.random(mask.shape) < 0.01
mask[specks] = random.integers(0, 256, np.count_nonzero(specks))

np.savez_compressed(
    Path(__file__).with_name("rembg_post_process.npz"),
    mask=mask,
    hard=np.packbits(post_process(mask) > 0),
    version=np.array(version("rembg")),
)
