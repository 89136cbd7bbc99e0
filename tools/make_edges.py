"""Make docs/images/edges.jpg: outlines at full size, by the mask alone and refined.

    python tools/make_edges.py FOLDER

FOLDER holds scikit-image's astronaut.png, chelsea.png, coffee.png and rocket.jpg (skimage/data).
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net import new_session
from u2net.foreground import foreground
from u2net.refine import refine

SIDE = 180
CROPS = {
    "astronaut.png": [(140, 5), (215, 0), (60, 130), (330, 330)],
    "chelsea.png": [(255, 0), (250, 110)],
    "coffee.png": [(345, 60), (75, 130), (330, 220)],
    "rocket.jpg": [(230, 110)],
}
"""Left and top of each square."""
MAGENTA = np.array([255, 0, 255])


def main() -> None:
    """Write the sheet: the photograph, the mask with the photograph's colours, ours; two such rows side by side."""
    folder, session = Path(sys.argv[1]), new_session()
    rows = []
    for name, corners in CROPS.items():
        image = np.array(Image.open(folder / name).convert("RGB"))
        mask = session.mask(image)
        alpha = refine(image, mask)
        panels = (image, over(image, mask), over(foreground(image, alpha), alpha))
        rows += [np.hstack([panel[y : y + SIDE, x : x + SIDE] for panel in panels]) for x, y in corners]
    half = len(rows) // 2
    sheet = np.hstack([np.vstack(rows[:half]), np.vstack(rows[half:])])
    Image.fromarray(sheet).save("docs/images/edges.jpg", quality=88, subsampling=0)


def over(colors: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Straight colours over magenta."""
    weight = alpha[:, :, None] / 255
    return (weight * colors + (1 - weight) * MAGENTA).round().astype(np.uint8)


if __name__ == "__main__":
    main()
