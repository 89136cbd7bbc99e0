"""Make the README's picture: `make picture`. The photograph, its cut-out, and the cut-out over a colour."""

from pathlib import Path

from PIL import Image

from u2net import remove

FOLDER = Path("docs/images")
CHECKS = 12  # pixels a side


def main() -> None:
    """Write docs/images/coffee-cut-out.jpg."""
    photograph = Image.open(FOLDER / "coffee.jpg")
    cutout = remove(photograph)
    width, height = photograph.size
    board = Image.new("RGB", photograph.size, "white")
    check = Image.new("RGB", (CHECKS, CHECKS), (218, 218, 218))
    for y in range(0, height, CHECKS):
        for x in range(y // CHECKS % 2 * CHECKS, width, 2 * CHECKS):
            board.paste(check, (x, y))
    board.paste(cutout, mask=cutout)
    strip = Image.new("RGB", (3 * width, height))
    for i, panel in enumerate((photograph, board, remove(photograph, bgcolor=(38, 70, 83, 255)))):
        strip.paste(panel, (i * width, 0))
    strip.resize((3 * width * 2 // 3, height * 2 // 3), Image.Resampling.LANCZOS).save(
        FOLDER / "coffee-cut-out.jpg", quality=90
    )


if __name__ == "__main__":
    main()
