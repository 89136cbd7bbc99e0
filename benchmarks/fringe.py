"""What is left of the old background in soft edges: colours as they are, ours and pymatting's, beside the true ones.

    python benchmarks/fringe.py MATTES [--model u2netp_distilled] [--quick] [--json FILE] [--peer PYTHON]

MATTES holds images/NAME.png and alphas/NAME.png. The true colours of a subject are pymatting's closed-form foreground
by its true alpha, so that neither side is at home. With that alpha the subject is laid over eight backgrounds, and its
colours are taken out again: by the true alpha, and by those that we find. The error is the mean ΔE2000 (CIE 142-2001)
of mixed pixels, each weighted by its alpha: so much of it shows. Pixels whose true alpha is below a tenth have no true
colour worth the name, and are left out. Pymatting 1.1.16 has an environment of its own, which the first time needs a
network. `benchmarks/matting.py` has times.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bench import new_parser, publish, table
from numpy.typing import NDArray
from PIL import Image
from sides import install_peer

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
HERE = Path(__file__).resolve()
PHOTOGRAPH = HERE.parents[1] / "docs" / "images" / "coffee.jpg"
COLORS = ((255, 255, 255), (0, 0, 0), (0, 190, 0), (255, 0, 255), (128, 128, 128), (50, 100, 230))
NUM_BACKGROUNDS = len(COLORS) + 2
ALPHAS = ("true", "fast", "balanced")
SIDES = ("as they are", "ours", "pymatting")
FAINT = 25  # of 255


def main() -> None:
    """Make true colours, ask both sides, score, print, write if asked."""
    parser = new_parser(__doc__, "two photographs over two backgrounds")
    parser.add_argument("mattes", type=Path)
    parser.add_argument("--model", default="u2netp_distilled", metavar="NAME|FILE", help="whose masks are refined")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has pymatting  [default: one in .peers]")
    parser.add_argument("--answer", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if arguments.answer:
        theirs(Path(arguments.answer))
        return
    python = arguments.peer or install_peer("pymatting", "1.1.16")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = find_alphas(arguments.model, arguments.mattes, folder, most=2 if arguments.quick else None)
        backgrounds = (0, 3) if arguments.quick else tuple(range(NUM_BACKGROUNDS))
        (folder / "backgrounds.json").write_text(json.dumps(backgrounds), encoding="ascii")
        subprocess.run([python, HERE, "MATTES", "--answer", folder], check=True)
        errors = score(folder, names, backgrounds)
    cells = ([alpha, *(f"{errors[alpha][side]:.2f}" for side in SIDES)] for alpha in ALPHAS)
    facts = {"photographs": len(names), "backgrounds": len(backgrounds), "errors": errors}
    publish(
        arguments,
        facts,
        table(["alpha", *SIDES], cells),
        f"{len(names)} photographs, {len(backgrounds)} backgrounds, pymatting 1.1.16",
    )


# ---- Both sides ----------------------------------------------------------------------------------------------


def find_alphas(model: str, mattes: Path, folder: Path, most: int | None) -> list[str]:
    """Write each photograph with its true alpha and those that we find; return the names."""
    from u2net import new_session
    from u2net.cutout.matting.refine import refine

    session, names = new_session(model, runtime="onnxruntime", threads=1), []
    for path in sorted((mattes / "images").glob("*.png"))[:most]:
        image = np.array(Image.open(path).convert("RGB"))
        mask = session.mask(image)
        np.save(folder / f"{path.stem}.image.npy", image)
        np.save(folder / f"{path.stem}.true.npy", np.array(Image.open(mattes / "alphas" / path.name).convert("L")))
        for quality in ("fast", "balanced"):
            np.save(folder / f"{path.stem}.{quality}.npy", refine(image, mask, quality))
        names.append(path.stem)
    return names


def theirs(folder: Path) -> None:
    """Runs with pymatting: writes the true colours, and its own for each alpha and background."""
    import warnings

    from pymatting import estimate_foreground_cf, estimate_foreground_ml

    warnings.simplefilter("ignore")  # pymatting speaks of its preconditioner
    for path in sorted(folder.glob("*.image.npy")):
        name = path.name.split(".")[0]
        truth = np.load(folder / f"{name}.true.npy")
        colors = to_8_bits(estimate_foreground_cf(np.load(path) / 255, truth / 255))
        np.save(folder / f"{name}.colors.npy", colors)
        for number in json.loads((folder / "backgrounds.json").read_text(encoding="ascii")):
            picture = laid_over(colors, truth, number) / 255
            for kind in ALPHAS:
                found = estimate_foreground_ml(picture, np.load(folder / f"{name}.{kind}.npy") / 255)
                np.save(folder / f"{name}.{kind}.{number}.npy", to_8_bits(found))


def laid_over(colors: Pixels, alpha: Pixels, number: int) -> Pixels:
    """A subject over one of the backgrounds: six colours, a photograph, and the same upside down in other colours."""
    height, width = alpha.shape
    if number < len(COLORS):
        behind = np.full((height, width, 3), COLORS[number], dtype=np.uint8)
    else:
        behind = np.asarray(Image.open(PHOTOGRAPH).convert("RGB").resize((width, height)))
        behind = behind[::-1, :, ::-1] if number > len(COLORS) else behind
    weight = alpha[:, :, None] / 255
    return to_8_bits((weight * colors + (1 - weight) * behind) / 255)


def to_8_bits(values: Floats) -> Pixels:
    """Levels for values in [0, 1]."""
    return np.asarray((values * 255).round().clip(0, 255).astype(np.uint8))


# ---- Scores --------------------------------------------------------------------------------------------------


def score(folder: Path, names: list[str], backgrounds: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """Mean errors of each side, by the alpha."""
    from u2net.cutout.matting.foreground import foreground

    errors: dict[str, dict[str, list[float]]] = {alpha: {side: [] for side in SIDES} for alpha in ALPHAS}
    for name in names:
        truth, colors = (np.load(folder / f"{name}.{kind}.npy") for kind in ("true", "colors"))
        for number in backgrounds:
            picture = laid_over(colors, truth, number)
            for kind in ALPHAS:
                alpha = np.load(folder / f"{name}.{kind}.npy")
                mixed = (alpha > 0) & (alpha < 255) & (truth > FAINT)
                found = (picture, foreground(picture, alpha), np.load(folder / f"{name}.{kind}.{number}.npy"))
                for side, shown in zip(SIDES, found, strict=True):
                    apart = delta_e_2000(to_lab(shown[mixed]), to_lab(colors[mixed]))
                    errors[kind][side].append(float(np.average(apart, weights=alpha[mixed])))
    return {kind: {side: float(np.mean(found)) for side, found in sides.items()} for kind, sides in errors.items()}


def to_lab(levels: Pixels) -> Floats:
    """CIE L*a*b* of sRGB in 8 bits, (N, 3), under D65."""
    encoded = levels / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
    )
    x, y, z = (linear @ matrix.T / matrix.sum(axis=1)).T
    f_x, f_y, f_z = (np.where(v > 216 / 24389, np.cbrt(v), (24389 / 27 * v + 16) / 116) for v in (x, y, z))
    return np.stack([116 * f_y - 16, 500 * (f_x - f_y), 200 * (f_y - f_z)], axis=1)


def delta_e_2000(one: Floats, other: Floats) -> Floats:
    """Sharma, Wu and Dalal, The CIEDE2000 color-difference formula, 2005: of colours (N, 3) in L*a*b*."""
    (l1, a1, b1), (l2, a2, b2) = one.T, other.T

    def damped(chroma: Floats) -> Floats:
        return np.asarray(np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))

    g = 0.5 * (1 - damped((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    grey = c1 * c2 == 0
    turn = np.where(grey, 0, (h2 - h1 + 180) % 360 - 180)
    hue = np.where(grey, h1 + h2, (h1 + turn / 2) % 360)
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    cosines = ((0.17, 1, -30), (-0.24, 2, 0), (-0.32, 3, 6), (0.2, 4, -63))
    t = 1 - sum(weight * np.cos(np.radians(times * hue + shift)) for weight, times, shift in cosines)
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    d_l, d_c = (l2 - l1) / s_l, (c2 - c1) / (1 + 0.045 * chroma)
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * t)
    rotation = -2 * damped(chroma) * np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    return np.asarray(np.sqrt(d_l**2 + d_c**2 + d_h**2 + rotation * d_c * d_h))


if __name__ == "__main__":
    main()
