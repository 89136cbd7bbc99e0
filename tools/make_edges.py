"""Make docs/images/edges.jpg: twenty outlines at full size, by the mask alone and as two qualities decide them.

    python tools/make_edges.py FOLDER

FOLDER holds the photographs that docs/images/CREDITS.md credits, under their names in these packages:
    gcompris-qt-data 3.1-2 (Debian): all that end in .webp. It keeps them in usr/share/gcompris-qt/rcc, hedgehog.webp in
        explore_world_animals.rcc, the others in erase.rcc; PySide6 reads these: QResource.registerResource(FILE), then
        QFile(":/gcompris/src/activities/erase/resource/bee.webp").copy("FOLDER/bee.webp"), and
        ":/gcompris/src/activities/explore_world_animals/resource/animals/hedgehog.webp"
    lomiri-wallpapers-16.04 20.04.0-2 (Debian): both .jpg, from usr/share/backgrounds
    scikit-image 0.26.0 (PyPI): both .png, from skimage/data
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from u2net import new_session, remove

SIDE, GAP = 180, 8
QUALITIES = ("coarse", "fast", "balanced")


@dataclass(frozen=True)
class Photograph:
    """A file, and left and top of each square shown of it.

    The network sees the whole file, or of one whose subject is another thing only `part`: left, top, right, bottom.
    """

    file: str
    squares: tuple[tuple[int, int], ...]
    part: tuple[int, int, int, int] | None = None


PHOTOGRAPHS = (
    Photograph("astronaut.png", ((140, 5),)),
    Photograph("macaque.webp", ((905, 80), (1330, 120))),
    Photograph("goat.webp", ((1170, 250),)),
    Photograph("squirrel.webp", ((790, 120),)),
    Photograph("alpaca.webp", ((300, 70),)),
    Photograph("gorilla.webp", ((660, 60),)),
    Photograph("pika.webp", ((840, 250),)),
    Photograph("hedgehog.webp", ((300, 110),)),
    Photograph("bee.webp", ((480, 365),)),
    Photograph("northern_harrier.webp", ((150, 80), (640, 330))),
    Photograph("heron.webp", ((400, 100),)),
    Photograph("seeding_by_Clements_Engelhardt.jpg", ((700, 720),)),
    Photograph("caterpillar.webp", ((1080, 430), (1400, 640)), (1080, 400, 1920, 1080)),
    Photograph("Wine_by_Jakkub_Mede.jpg", ((930, 740), (940, 920)), (700, 200, 2100, 1500)),
    Photograph("motorcycle_left.png", ((522, 285), (110, 225))),
)


def main() -> None:
    """Write the sheet: the photograph and its cut-outs over magenta, from left to right; two outlines in a row."""
    folder, session = Path(sys.argv[1]), new_session("u2netp")
    outlines = []
    for photograph in PHOTOGRAPHS:
        image = Image.open(folder / photograph.file).convert("RGB")
        left, top, right, bottom = photograph.part or (0, 0, *image.size)
        image = image.crop((left, top, right, bottom))
        panels = [image, *(over_magenta(remove(image, session=session, quality=quality)) for quality in QUALITIES)]
        outlines += [beside(panels, x - left, y - top) for x, y in photograph.squares]
    rows = -(-len(outlines) // 2)
    width, height = outlines[0].size
    sheet = Image.new("RGB", (2 * width + GAP, rows * (height + GAP) - GAP), "white")
    for index, outline in enumerate(outlines):
        sheet.paste(outline, (index // rows * (width + GAP), index % rows * (height + GAP)))
    sheet.save("docs/images/edges.jpg", quality=80, subsampling=0, optimize=True)


def over_magenta(cutout: Image.Image) -> Image.Image:
    """RGB."""
    magenta = Image.new("RGBA", cutout.size, "magenta")
    magenta.alpha_composite(cutout)
    return magenta.convert("RGB")


def beside(panels: list[Image.Image], left: int, top: int) -> Image.Image:
    """The same square of each."""
    strip = Image.new("RGB", (len(panels) * SIDE, SIDE))
    for index, panel in enumerate(panels):
        strip.paste(panel.crop((left, top, left + SIDE, top + SIDE)), (index * SIDE, 0))
    return strip


if __name__ == "__main__":
    main()
