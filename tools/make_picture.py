"""Make pictures of the documents: `make picture`.

coffee-cut-out.jpg has the photograph, its cut-out, and the cut-out over a colour; models.jpg the cut-outs of the
default model and of `u2net`, and is only made where this machine has its file.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from u2net import new_session, remove
from u2net.models.zoo import find

FOLDER = Path("docs/images")
CHECKS = 12  # pixels a side


def main() -> None:
    """Write them to docs/images."""
    photograph = Image.open(FOLDER / "coffee.jpg").convert("RGB")
    cutout = remove(photograph)
    save([photograph, on_checks(cutout), remove(photograph, bgcolor=(38, 70, 83, 255))], "coffee-cut-out.jpg")
    if find("u2net"):
        full = remove(photograph, session=new_session("u2net"))
        save([on_checks(cutout), on_checks(full)], "models.jpg")


def on_checks(cutout: Image.Image) -> Image.Image:
    """A cut-out on a board of white and grey checks."""
    board = Image.new("RGB", cutout.size, "white")
    check = Image.new("RGB", (CHECKS, CHECKS), (218, 218, 218))
    for y in range(0, cutout.height, CHECKS):
        for x in range(y // CHECKS % 2 * CHECKS, cutout.width, 2 * CHECKS):
            board.paste(check, (x, y))
    board.paste(cutout, mask=cutout)
    return board


def save(panels: Sequence[Image.Image], name: str) -> None:
    """Pictures of one size, side by side, at two thirds of their size."""
    width, height = panels[0].size
    strip = Image.new("RGB", (len(panels) * width, height))
    for i, panel in enumerate(panels):
        strip.paste(panel, (i * width, 0))
    size = (strip.width * 2 // 3, height * 2 // 3)
    strip.resize(size, Image.Resampling.LANCZOS).save(FOLDER / name, quality=90)


if __name__ == "__main__":
    main()
