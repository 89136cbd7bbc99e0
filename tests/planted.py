"""Training data with one of each fault, among pairs with none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pictures import exif, read_image
from PIL import Image, ImageDraw, ImageFilter

SIZE = (96, 72)
NUM_SOUND = 8


def picture(seed: int) -> Image.Image:
    """Clouds of colour: no two seeds give two that are alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)


def mask(seed: int) -> Image.Image:
    """A white disc on black, left of the middle."""
    disc = Image.new("L", SIZE)
    ImageDraw.Draw(disc).ellipse((12 + seed % 5, 14, 52 + seed % 7, 60), fill=255)
    return disc


def save_pair(root: Path, name: str, seed: int, shown: Image.Image | None = None, truth: Image.Image | None = None):
    for folder, image in (("images", shown or picture(seed)), ("masks", truth or mask(seed))):
        (root / folder).mkdir(parents=True, exist_ok=True)
        image.save(root / folder / f"{name}.png")


def sound(root: Path, num: int = NUM_SOUND, seed: int = 0) -> Path:
    for index in range(seed, seed + num):
        save_pair(root, f"sound{index}", index)
    return root


def _change(root: Path, part: str, name: str, change: Callable[[Image.Image], Image.Image], **options) -> None:
    path = root / part / f"{name}.png"
    change(read_image(path)).save(path, **options)


def _resave_lossy(root: Path, name: str) -> None:
    path = root / f"masks/{name}.png"
    read_image(path).save(path.with_suffix(".jpg"), quality=60)
    path.unlink()


def _twice(root: Path, name: str) -> None:
    read_image(root / f"images/{name}.png").save(root / f"images/{name}.jpg")


def _copy(root: Path, name: str, of: str, seed: int) -> None:
    """Another file of a picture, with its mask."""
    copied = picture(seed).resize((60, 45))
    save_pair(root, of, seed)
    save_pair(root, name, seed, copied, mask(seed).resize((60, 45)))


def _mirror(root: Path, name: str, of: str, seed: int) -> None:
    """The mirrored picture, with a mask that was not mirrored."""
    save_pair(root, of, seed)
    save_pair(root, name, seed, picture(seed).transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def _palette(image: Image.Image, *colours: int) -> Image.Image:
    indexed = Image.fromarray(np.asarray(image) // 255)
    indexed.putpalette(colours)
    return indexed


def _rgba(image: Image.Image, colours: Image.Image) -> Image.Image:
    return Image.merge("RGBA", [*colours.split(), image])


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:600])


FAULTS: dict[str, tuple[str, Callable[[Path, str], object]]] = {
    "alone": ("no-mask", lambda root, name: (root / f"masks/{name}.png").unlink()),
    "lonely": ("no-picture", lambda root, name: (root / f"images/{name}.png").unlink()),
    "two-pictures": ("same-name", _twice),
    "cut-off": ("unreadable", lambda root, name: _truncate(root / f"images/{name}.png")),
    "no-bytes": ("unreadable", lambda root, name: (root / f"masks/{name}.png").write_bytes(b"")),
    "a-text": ("unreadable", lambda root, name: (root / f"images/{name}.png").write_text("no picture")),
    "laid": (
        "size",
        lambda root, name: (
            _change(root, "images", name, lambda i: i.transpose(Image.Transpose.ROTATE_90), exif=exif(orientation=6))
            or _change(root, "masks", name, lambda m: m.transpose(Image.Transpose.ROTATE_90))
        ),
    ),
    "smaller": ("size", lambda root, name: _change(root, "masks", name, lambda m: m.resize((48, 36)))),
    "squeezed": ("size", lambda root, name: _change(root, "masks", name, lambda m: m.resize((72, 72)))),
    "black": ("empty", lambda root, name: _change(root, "masks", name, lambda m: m.point(lambda _: 0))),
    "white": ("full", lambda root, name: _change(root, "masks", name, lambda m: m.point(lambda _: 255))),
    "negative": ("inverted", lambda root, name: _change(root, "masks", name, lambda m: m.point(lambda v: 255 - v))),
    "dark": ("dim", lambda root, name: _change(root, "masks", name, lambda m: m.point(lambda v: v // 3))),
    "green": ("colour", lambda root, name: _change(root, "masks", name, lambda m: _palette(m, 0, 0, 0, 0, 255, 0))),
    "photograph": ("cut-out", lambda root, name: _change(root, "masks", name, lambda m: _rgba(m, picture(77)))),
    "jpeg": ("lossy", _resave_lossy),
    "upside-down": ("turned", lambda root, name: _change(root, "images", name, lambda i: i, exif=exif(orientation=3))),
    "transparent": (
        "alpha",
        lambda root, name: _change(root, "masks", name, lambda m: _rgba(m, Image.new("RGB", SIZE, "red"))),
    ),
    "indexed": (
        "palette",
        lambda root, name: _change(root, "masks", name, lambda m: _palette(m, 0, 0, 0, 255, 255, 255)),
    ),
    "ones": ("zero-one", lambda root, name: _change(root, "masks", name, lambda m: m.point(lambda v: v // 255))),
    "three-channels": ("rgb", lambda root, name: _change(root, "masks", name, lambda m: m.convert("RGB"))),
    "sixteen-bits": (
        "deep",
        lambda root, name: _change(root, "masks", name, lambda m: Image.fromarray(np.asarray(m, np.uint16) * 257)),
    ),
    "feathered": (
        "soft",
        lambda root, name: _change(root, "masks", name, lambda m: m.filter(ImageFilter.GaussianBlur(6))),
    ),
}
"""By the name of the pair that gets it: the kind that should be found, and what plants it."""


def plant(root: Path) -> tuple[Path, Path, list[tuple[str, str]]]:
    """Training data with all faults, validation data, and what should be found: kinds and names, sorted."""
    training, validation = sound(root / "training"), sound(root / "validation", 2, seed=50)
    expected = []
    for index, (name, (kind, spoil)) in enumerate(FAULTS.items()):
        save_pair(training, name, 100 + index)
        spoil(training, name)
        expected.append((kind, name))
    _copy(training, "once-more", "once", 300)
    _mirror(training, "turned-left", "turned-right", 301)
    save_pair(training, "learnt", 302)
    save_pair(validation, "asked", 302, picture(302).convert("L"))
    expected += [("duplicate", "once-more"), ("duplicate", "turned-right"), ("unequal-masks", "turned-right")]
    expected.append(("leak", "asked"))
    return training, validation, sorted(expected)
