"""rembg beside us: our model file in rembg, a rembg script on our package, colours, and the smoothing of masks.

    python benchmarks/compat_rembg.py [--pictures FOLDER] [--quick] [--peer PYTHON] [--json FILE]

prints one line per check and ends with status 1 if one of them fails. The first time, rembg is installed into
`.peers/rembg`, which needs a network, unless --peer names an interpreter that has it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench import named, new_parser, publish, table, versions
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw, ImageFilter
from sides import install_peer

VERSION = "2.0.86"
HERE = Path(__file__).resolve()
SCRIPT = HERE.with_name("rembg_script.py")
PHOTOGRAPH = HERE.parents[1] / "docs" / "images" / "coffee.jpg"
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}
NUM_MASKS = 30
BLUE = (0, 120, 255)  # the script's bgcolor
HARD = {"post_process_mask", "only_mask, post_process_mask", "all by position"}  # the script's binary masks

THEIR_IMPORT = "from rembg import new_session, remove\n"
OUR_IMPORT = "from u2net import new_session, remove\n"
OUR_IMPORT_FED_ALIKE = (
    OUR_IMPORT
    + """\
import functools
from u2net.models.transform import REMBG
new_session = functools.partial(new_session, transform=REMBG, runtime="onnxruntime", precision="fp32")
remove = functools.partial(remove, quality="coarse")
"""
)


class Check(NamedTuple):
    """One line of the result."""

    name: str
    passed: bool
    found: dict[str, int | float | str]


def main() -> None:
    """Set rembg up, compare, print, write if asked."""
    parser = new_parser(__doc__, "a tenth of the masks, and ten of --pictures")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="compare the masks of these pictures too")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has rembg  [default: one in .peers]")
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_peer:
        answer_as_peer(arguments.as_peer)
        return

    python = arguments.peer or install_peer("rembg", VERSION, "[cpu]")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = draw_pictures(folder)
        if arguments.pictures:
            given = sorted(path for path in arguments.pictures.iterdir() if path.suffix.lower() in SUFFIXES)
            pictures += given[: 10 if arguments.quick else None]
        masks = draw_masks()[:: 10 if arguments.quick else 1]
        answers, their_versions = ask_peer(python, folder, pictures, masks)
        checks = [
            check_model(pictures, folder, answers),
            *check_script(pictures[0], folder, python),
            check_colours(answers),
            check_smoothing(masks, answers),
        ]
    cells = [
        [check.name, "ok" if check.passed else "FAIL", ", ".join(f"{k} {v}" for k, v in check.found.items())]
        for check in checks
    ]
    text = table(["check", "", "found"], cells, num_text=3)
    packages = {"ours": versions("u2net", "numpy", "onnxruntime", "pillow"), "theirs": their_versions}
    facts = {"versions": packages, "checks": [check._asdict() for check in checks]}
    publish(arguments, facts, text, f"{named(packages['ours'])}; theirs: {named(packages['theirs'])}")
    sys.exit(not all(check.passed for check in checks))


# ---- The checks ----------------------------------------------------------------------------------------------


def check_model(pictures: list[Path], folder: Path, answers: dict[str, NDArray[np.uint8]]) -> Check:
    """Our packaged file, unchanged, in rembg's `u2net_custom`, against our own Session fed as rembg feeds."""
    from u2net import new_session
    from u2net.models.transform import REMBG

    session = new_session(folder / "home" / "u2netp.onnx", transform=REMBG)
    largest = {}
    num_different = num_pixels = 0
    for index, path in enumerate(pictures):
        difference = levels_apart(session.mask(path), answers[f"mask {index}"])
        largest[path.name] = int(difference.max())
        num_different += np.count_nonzero(difference)
        num_pixels += difference.size
    worst = max(largest, key=largest.__getitem__)
    found = {
        "pictures": len(pictures),
        "largest difference of a mask": f"{largest[worst]} of 255 ({worst})",
        "pixels that differ": f"{num_different:,} of {num_pixels:,}",
    }
    return Check("our u2netp.onnx in rembg's u2net_custom", largest[worst] <= 1, found)


def check_script(picture: Path, folder: Path, python: str) -> list[Check]:
    """A rembg script with nothing but its import line changed: what comes out, and why it differs."""
    text = SCRIPT.read_text(encoding="utf-8")
    assert text.count(THEIR_IMPORT) == 1
    theirs = run_script(python, text, picture, folder / "theirs")
    ours = run_script(sys.executable, text.replace(THEIR_IMPORT, OUR_IMPORT), picture, folder / "ours")
    alike = run_script(sys.executable, text.replace(THEIR_IMPORT, OUR_IMPORT_FED_ALIKE), picture, folder / "alike")

    kinds = [json.loads((folder / side / "told.json").read_text(encoding="utf-8")) for side in ("theirs", "ours")]
    unlike = [name for name in kinds[0] if kinds[0][name] != kinds[1].get(name)]
    fed = levels_apart(ours["only_mask"], theirs["only_mask"])
    apart = {name: levels_apart(alpha(alike[name]), alpha(theirs[name])) for name in theirs}
    soft = np.stack([difference for name, difference in apart.items() if name not in HARD | {"alpha_matting"}])
    hard = np.stack([difference for name, difference in apart.items() if name in HARD])
    return [
        Check(
            "script with only its import changed, types, modes and sizes",
            not unlike,
            {"results": len(kinds[0]), "unlike": ", ".join(unlike) or "none"},
        ),
        Check(
            "script, masks, each package feeding the network in its own way",
            True,  # to know, not to judge
            {"mean difference": round(float(fed.mean()), 2), "largest": int(fed.max())},
        ),
        Check(
            "script, masks and alphas, ours fed as rembg feeds",
            # A level more or less can carry a pixel across the threshold of post_process_mask.
            bool(soft.max() <= 1 and np.count_nonzero(hard) <= hard.size / 10_000),
            {
                "largest difference": int(soft.max()),
                "pixels that differ with post_process_mask": f"{np.count_nonzero(hard):,} of {hard.size:,}",
            },
        ),
        check_matting(alike, theirs),
        *check_script_colours(np.asarray(Image.open(picture), dtype=np.float64), alike, theirs),
    ]


def check_matting(ours: dict[str, NDArray[np.uint8]], theirs: dict[str, NDArray[np.uint8]]) -> Check:
    """alpha_matting and decontaminate: both solve what has no closed solution, and stop at different moments."""
    alphas = levels_apart(alpha(ours["alpha_matting"]), alpha(theirs["alpha_matting"]))
    mixed = (alpha(theirs["decontaminate"]) > 25) & (
        alpha(theirs["decontaminate"]) < 255
    )  # fainter colours are a guess
    colors = levels_apart(ours["decontaminate"][mixed][:, :3], theirs["decontaminate"][mixed][:, :3])
    found = {
        "mean difference of alphas": round(float(alphas.mean()), 3),
        "of mixed colours": round(float(colors.mean()), 2),
    }
    return Check("script, alpha_matting and decontaminate", all_within(found, (1, 5)), found)


def check_script_colours(
    picture: NDArray[np.float64], ours: dict[str, NDArray[np.uint8]], theirs: dict[str, NDArray[np.uint8]]
) -> list[Check]:
    """Straight colours against rembg's, which are multiplied by alpha and stored as if they were straight."""

    def off(results: dict[str, NDArray[np.uint8]], name: str, expected: NDArray[np.float64]) -> float:
        return round(float(np.abs(results[name][:, :, :3] - expected).max()), 1)

    opacity = alpha(ours["PIL"])[:, :, None] / 255
    seen = picture * (opacity > 0) + ours["PIL"][:, :, :3] * (opacity == 0)
    rest = np.array(BLUE) * (1 - opacity)
    cutouts = {
        "ours off the picture, where alpha is not 0, by": off(ours, "PIL", seen),
        "rembg's off the picture times alpha by": off(theirs, "PIL", picture * opacity),
        "both with putalpha off the picture by": max(off(ours, "putalpha", picture), off(theirs, "putalpha", picture)),
    }
    mixtures = {
        "ours off the exact mixture by": off(ours, "bgcolor", picture * opacity + rest),
        "rembg's by": off(theirs, "bgcolor", picture * opacity + rest),
        "and off one that counts alpha twice by": off(theirs, "bgcolor", picture * opacity**2 + rest),
    }
    return [
        # rembg's alpha may be a level off ours, and it rounds once for each time it multiplies.
        Check("script, colours", all_within(cutouts, (0, 2, 0)), cutouts),
        Check("script, colours over bgcolor", all_within(mixtures, (1, 255, 2)), mixtures),
    ]


def check_colours(answers: dict[str, NDArray[np.uint8]]) -> Check:
    """One pixel of grey 200 under a mask of 128, by the function that cuts out in each package."""
    from u2net.cutout.compose import with_alpha

    rgb, mask = one_grey_pixel()
    ours = tuple(np.asarray(with_alpha(rgb, np.asarray(mask)))[0, 0].tolist())
    theirs = tuple(answers["grey"][0, 0].tolist())
    found = {"ours": str(ours), "rembg's": str(theirs)}
    return Check("grey 200 at mask 128", ours == (200, 200, 200, 128) and theirs == (100, 100, 100, 128), found)


def check_smoothing(masks: list[NDArray[np.uint8]], answers: dict[str, NDArray[np.uint8]]) -> Check:
    """`post_process_mask` of both on soft masks."""
    from u2net.cutout.matting.alpha_matting import smooth_mask

    num_different = sum(
        int(np.count_nonzero(smooth_mask(mask) != answers[f"smooth {index}"])) for index, mask in enumerate(masks)
    )
    num_pixels = sum(mask.size for mask in masks)
    found = {"masks": len(masks), "pixels that differ": f"{num_different:,} of {num_pixels:,}"}
    return Check("post_process_mask", num_different == 0, found)


def all_within(found: dict[str, float], limits: tuple[float, ...]) -> bool:
    """Whether no number is greater than its limit."""
    return all(number <= limit for number, limit in zip(found.values(), limits, strict=True))


# ---- What is compared ----------------------------------------------------------------------------------------


def draw_pictures(folder: Path) -> list[Path]:
    """The demo photograph; blurred ellipses on gradients with grain, one of them grey, one on its side by its EXIF.

    All are PNG: versions of Pillow may decode JPEG differently.
    """
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    kinds = {
        "tall": ((333, 517), "RGB", {}),
        "large": ((2000, 1500), "RGB", {}),
        "small": ((64, 48), "RGB", {}),
        "grey": ((400, 300), "L", {}),
        "turned": ((480, 320), "RGB", {"exif": exif}),
    }
    paths = [folder / "coffee.png"]
    Image.fromarray(np.asarray(Image.open(PHOTOGRAPH))).save(paths[0])
    for name, ((width, height), mode, options) in kinds.items():
        y, x = np.mgrid[0:height, 0:width] / max(width, height)
        background = np.stack([90 + 60 * x, 110 + 50 * y, 150 - 40 * x], axis=-1)
        background += random.normal(0, 6, background.shape)
        image = Image.fromarray(background.clip(0, 255).astype(np.uint8))
        subject, cover = Image.new("RGB", image.size, (200, 60, 30)), Image.new("L", image.size)
        ImageDraw.Draw(cover).ellipse((width * 0.3, height * 0.2, width * 0.7, height * 0.8), fill=255)
        image.paste(subject, mask=cover.filter(ImageFilter.GaussianBlur(width / 100)))
        paths.append(folder / f"{name}.png")
        image.convert(mode).save(paths[-1], **options)
    return paths


def draw_masks() -> list[NDArray[np.uint8]]:
    """Soft masks of many sizes and grades of smoothness, with specks."""
    random = np.random.default_rng(0)
    masks = []
    for _ in range(NUM_MASKS):
        width, height = random.integers(1, 400, 2)
        coarse = random.integers(0, 256, random.integers(2, 24, 2), dtype=np.uint8)
        mask = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        specks = random.random(mask.shape) < 0.01
        mask[specks] = random.integers(0, 256, np.count_nonzero(specks))
        masks.append(mask)
    return masks


def one_grey_pixel() -> tuple[Image.Image, Image.Image]:
    """Picture and mask."""
    return Image.new("RGB", (1, 1), (200, 200, 200)), Image.new("L", (1, 1), 128)


def levels_apart(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Difference of two masks, pixel by pixel."""
    assert a.shape == b.shape, f"shapes differ: {a.shape} and {b.shape}"
    return np.abs(a.astype(np.int16) - b)


def alpha(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The last channel of RGBA, or the mask that it is."""
    return pixels if pixels.ndim == 2 else pixels[:, :, 3]


# ---- The other side ------------------------------------------------------------------------------------------


def ask_peer(
    python: str, folder: Path, pictures: list[Path], masks: list[NDArray[np.uint8]]
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, str]]:
    """What `answer_as_peer` makes of these in rembg's interpreter: its arrays, and its versions."""
    from u2net.models.zoo import resolve

    home = folder / "home"
    home.mkdir()
    (home / "u2netp.onnx").write_bytes(resolve("u2netp").read_bytes())
    (folder / "pictures.json").write_text(json.dumps([str(path.resolve()) for path in pictures]), encoding="utf-8")
    np.savez(folder / "masks.npz", *masks)
    subprocess.run([python, HERE, "--as-peer", folder], env=environment(folder), check=True)
    with np.load(folder / "answers.npz") as file:
        answers = dict(file)
    return answers, json.loads((folder / "versions.json").read_text(encoding="utf-8"))


def answer_as_peer(folder: Path) -> None:
    """Runs where rembg is installed: its masks of the pictures, its smoothing of the masks, its cut-out."""
    from rembg import new_session, remove
    from rembg.bg import naive_cutout, post_process

    session = new_session("u2net_custom", model_path=str(folder / "home" / "u2netp.onnx"))
    answers = {"grey": np.asarray(naive_cutout(*one_grey_pixel()))}
    for index, path in enumerate(json.loads((folder / "pictures.json").read_text(encoding="utf-8"))):
        answers[f"mask {index}"] = np.asarray(remove(Image.open(path), session=session, only_mask=True))
    with np.load(folder / "masks.npz") as masks:
        for index, mask in enumerate(masks.values()):
            answers[f"smooth {index}"] = post_process(mask)
    np.savez(folder / "answers.npz", **answers)
    packages = versions("rembg", "numpy", "onnxruntime", "pillow", "scikit-image", "scipy")
    (folder / "versions.json").write_text(json.dumps(packages), encoding="utf-8")


def run_script(python: str, text: str, picture: Path, folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Run the text of a script in an interpreter; the pixels of its results by name."""
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(text, encoding="utf-8")
    subprocess.run([python, script, picture, folder], env=environment(folder.parent), check=True)
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def environment(folder: Path) -> dict[str, str]:
    """Here rembg looks for models, and takes a model's path from nowhere else."""
    return os.environ | {"U2NET_HOME": str(folder / "home")}


if __name__ == "__main__":
    main()
