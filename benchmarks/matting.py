"""Refined alphas and foregrounds beside rembg's alpha matting, from the same coarse masks.

    python benchmarks/matting.py MATTES [--model u2netp] [--rounds 5] [--quick] [--json FILE] [--peer PYTHON]

MATTES holds images/NAME.png and alphas/NAME.png. Theirs is what rembg 2.0.86 does for alpha_matting=True: its trimap by
scipy, then pymatting's closed form and multi-level foreground, in an environment of its own, which the first time needs
a network. Times are the processor's, of all threads, of which both sides have one; each side answers in a process of
its own, in turn. "best" is "balanced" on the mean of the masks of a photograph and its mirror image.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from bench import new_parser, publish, ratio_row, ratio_table, table
from numpy.typing import NDArray
from PIL import Image
from sides import install_peer

Pixels = NDArray[np.uint8]
HERE = Path(__file__).resolve()
FOUND = 15.0  # SAD of the mask as it is, in thousands, below which the subject counts as found
REACH = 10  # pixels around the true edge that the band takes
OURS = ("fast", "balanced", "best")
KINDS = ("mask", "theirs", *OURS)
WORDS = {"mask": "the mask as it is", "theirs": "rembg, alpha_matting"}
STEPS = {
    "fast": (["fast"], ["alpha"]),
    "balanced": (["balanced"], ["alpha"]),
    "foreground": (["foreground"], ["foreground"]),
    "balanced and foreground": (["balanced", "foreground"], ["alpha", "foreground"]),
}
"""What is timed: our steps, and rembg's that lead to the same."""


def main() -> None:
    """Predict masks, ask both sides in turn, print, write if asked."""
    parser = new_parser(__doc__, "two photographs, two rounds")
    parser.add_argument("mattes", type=Path)
    parser.add_argument("--model", default="u2netp", metavar="NAME|FILE", help="whose masks are refined")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has pymatting  [default: one in .peers]")
    parser.add_argument("--answer", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if arguments.answer:
        answer(arguments.answer[0], Path(arguments.answer[1]))
        return

    python = arguments.peer or install_peer("pymatting", "1.1.16")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truths = predict_masks(arguments.model, arguments.mattes, folder, most=2 if arguments.quick else None)
        num_rounds = 2 if arguments.quick else arguments.rounds
        rounds = [[ask(sys.executable, "ours", folder), ask(python, "theirs", folder)] for _ in range(num_rounds)]
        times = {side: times for answers in zip(*rounds, strict=True) for side, times in collected(answers).items()}
        photographs = score_photographs(folder, truths)
        facts: dict[str, Any] = {
            "rounds": num_rounds,
            "alphas": score_alphas(folder, truths, found=[p["photograph"] for p in photographs if p["mask"] < FOUND]),
            "photographs": photographs,
            "times": [time_row(name, times) for name in STEPS],
            "foreground": score_foregrounds(folder, truths),
            "band": rounds[0][0]["band"],
        }
    publish(arguments, facts, to_markdown(facts), "pymatting 1.1.16")


# ---- Both sides ----------------------------------------------------------------------------------------------


def predict_masks(model: str, mattes: Path, folder: Path, most: int | None) -> dict[str, Pixels]:
    """Write image and coarse masks of each photograph, or of the first few, as arrays; return the true alphas."""
    from u2net import new_session

    session, truths = new_session(model, runtime="onnxruntime", threads=1), {}
    for path in sorted((mattes / "images").glob("*.png"))[:most]:
        image = np.array(Image.open(path).convert("RGB"))
        save(folder, path.stem, "image", image)
        save(folder, path.stem, "mask", session.mask(image))
        save(folder, path.stem, "looks", session.predict(image, looks=2).mask)
        truths[path.stem] = np.array(Image.open(mattes / "alphas" / path.name).convert("L"))
    return truths


def ask(python: str, side: str, folder: Path) -> Any:
    """What a side says in a process of its own."""
    command = [python, HERE, "MATTES", "--answer", side, folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def answer(side: str, folder: Path) -> None:
    """Runs in the process of a side: all photographs, once to warm up and once timed; prints seconds for each."""
    work = ours if side == "ours" else theirs
    names = sorted(path.name.split(".")[0] for path in folder.glob("*.image.npy"))
    work(folder, names[0])
    print(json.dumps({"times": {name: work(folder, name) for name in names}, "band": growing(folder, names[0], side)}))


def ours(folder: Path, name: str) -> dict[str, float]:
    """Our alphas and foreground, written; seconds of each."""
    from u2net.cutout.matting.foreground import foreground
    from u2net.cutout.matting.refine import refine

    image, mask, looks = (load(folder, name, kind) for kind in ("image", "mask", "looks"))
    seconds = {}
    for quality in ("fast", "balanced"):
        alpha, seconds[quality] = timed(lambda quality=quality: refine(image, mask, quality))
        save(folder, name, quality, alpha)
    colors, seconds["foreground"] = timed(lambda: foreground(image, alpha))
    save(folder, name, "foreground", colors)
    save(folder, name, "best", refine(image, looks))
    return seconds


def theirs(folder: Path, name: str) -> dict[str, float]:
    """What rembg makes, written; seconds of its alpha and of its foreground."""
    import warnings

    from pymatting import estimate_alpha_cf, estimate_foreground_ml
    from scipy.ndimage import binary_erosion

    warnings.simplefilter("ignore")  # pymatting speaks of its preconditioner
    image, mask = load(folder, name, "image"), load(folder, name, "mask")

    def matte() -> NDArray[np.float64]:
        square = np.ones((10, 10), dtype=np.uint8)
        known = np.full(mask.shape, 128, dtype=np.uint8)
        known[binary_erosion(mask > 240, square)] = 255
        known[binary_erosion(mask < 10, square, border_value=1)] = 0
        return np.asarray(estimate_alpha_cf(image / 255, known / 255))

    alpha, seconds = timed(matte)
    colors, seconds_foreground = timed(lambda: estimate_foreground_ml(image / 255, alpha))
    del colors
    save(folder, name, "theirs", np.clip(alpha * 255, 0, 255).astype(np.uint8))
    ours_alpha = folder / f"{name}.balanced.npy"
    if ours_alpha.exists():  # for comparison of colours, at one alpha
        found = estimate_foreground_ml(image / 255, np.load(ours_alpha) / 255)
        save(folder, name, "theirs_foreground", (found * 255).round().astype(np.uint8))
    return {"alpha": seconds, "foreground": seconds_foreground}


def growing(folder: Path, name: str, side: str) -> list[dict[str, float]]:
    """Seconds of "balanced" at growing sizes of one photograph, with the pixels of mixed alpha that it gives."""
    if side != "ours":
        return []
    from u2net.cutout.matting.refine import refine

    rows = []
    for scale in (1, 2, 4):
        image, mask = (enlarged(load(folder, name, kind), scale) for kind in ("image", "mask"))
        alpha, seconds = timed(lambda image=image, mask=mask: refine(image, mask))
        mixed = int(np.count_nonzero((alpha > 0) & (alpha < 255)))
        rows.append({"megapixels": mask.size / 1e6, "mixed": mixed, "seconds": seconds})
    return rows


def collected(answers: tuple[Any, ...]) -> dict[str, list[dict[str, dict[str, float]]]]:
    """One side's times of all rounds, under the side's name."""
    side = "ours" if "balanced" in next(iter(answers[0]["times"].values())) else "theirs"
    return {side: [one["times"] for one in answers]}


def timed(work: Any) -> tuple[Any, float]:
    """A result and the processor's seconds that it took."""
    start = process_time()
    found = work()
    return found, process_time() - start


# ---- Scores --------------------------------------------------------------------------------------------------


def score_alphas(folder: Path, truths: dict[str, Pixels], found: list[str]) -> list[dict[str, Any]]:
    """The four errors of each kind of alpha, over the whole and in the band; means of the found and of the others."""
    from u2net.evaluation.metrics import MATTING, Pair

    rows = []
    for kind in KINDS:
        for group, names in (("found", found), ("others", [name for name in truths if name not in found])):
            for where in ("whole", "band"):
                row: dict[str, Any] = {"alpha": kind, "group": group, "num": len(names), "where": where}
                for measure in MATTING:
                    one = measure()
                    for name in names:
                        region = band(truths[name]) if where == "band" else None
                        one.step(Pair(load(folder, name, kind), truths[name]), region)
                    row |= one.results()
                rows.append(row)
    return rows


def score_photographs(folder: Path, truths: dict[str, Pixels]) -> list[dict[str, Any]]:
    """SAD of each kind of alpha of each photograph."""
    from u2net.evaluation.metrics import SAD, Pair

    return [
        {"photograph": name} | {kind: SAD().score(Pair(load(folder, name, kind), truth))["SAD"] for kind in KINDS}
        for name, truth in truths.items()
    ]


def band(truth: Pixels) -> NDArray[np.bool_]:
    """Pixels of mixed true alpha, and those within reach of these and of the outline."""
    from u2net.images.morphology import boundary, grow_by_square

    return grow_by_square(((truth > 0) & (truth < 255)) | boundary(truth >= 128), REACH)


def time_row(name: str, times: dict[str, Any]) -> dict[str, Any]:
    """Mean time over the photographs on both sides, and how many times as long theirs is."""
    rows = []
    for ours_round, theirs_round in zip(times["ours"], times["theirs"], strict=True):
        mine, other = (
            sum(one[step] for one in side.values() for step in steps) / len(side)
            for side, steps in zip((ours_round, theirs_round), STEPS[name], strict=True)
        )
        rows.append((mine, other))
    mine, others = ([1000 * seconds for seconds in side] for side in zip(*rows, strict=True))
    return ratio_row(name, "ms of the processor", mine, others, digits=1)


def score_foregrounds(folder: Path, truths: dict[str, Pixels]) -> dict[str, float]:
    """Mean squared differences from pymatting's colours at our alpha: of all pixels, of mixed ones, as they show."""
    sums = np.zeros(3)
    for name in truths:
        alpha = load(folder, name, "balanced")
        differ = (load(folder, name, "foreground") - load(folder, name, "theirs_foreground").astype(float)) / 255
        differ[alpha == 0] = 0  # nobody sees these
        mixed = (alpha > 0) & (alpha < 255)
        shown = differ * (alpha / 255)[:, :, None]
        sums += [np.square(differ).mean(), np.square(differ[mixed]).mean(), np.square(shown[mixed]).mean()]
    return dict(zip(("all", "mixed", "mixed, times alpha"), (sums / len(truths)).tolist(), strict=True))


def enlarged(pixels: Pixels, scale: float) -> Pixels:
    """A picture or mask, larger."""
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


# ---- Files and words -----------------------------------------------------------------------------------------


def save(folder: Path, name: str, kind: str, pixels: Pixels) -> None:
    """Write an array of a photograph."""
    np.save(folder / f"{name}.{kind}.npy", pixels)


def load(folder: Path, name: str, kind: str) -> Pixels:
    """Read it."""
    return np.asarray(np.load(folder / f"{name}.{kind}.npy"))


def to_markdown(facts: dict[str, Any]) -> str:
    """All tables."""
    alphas = (
        [
            WORDS.get(row["alpha"], row["alpha"]),
            f"{row['group']} ({row['num']})",
            row["where"],
            *(f"{value:.2f}" for value in (row["SAD"], 1000 * row["MSE"], row["Grad"], row["Conn"])),
        ]
        for row in facts["alphas"]
    )
    photographs = ([row["photograph"], *(f"{row[kind]:.2f}" for kind in KINDS)] for row in facts["photographs"])
    band = ([f"{r['megapixels']:.2f} MP", r["mixed"], f"{1000 * r['seconds']:.0f}"] for r in facts["band"])
    foreground = ([name, f"{value:.1e}"] for name, value in facts["foreground"].items())
    tables = (
        table(["alpha", "subject", "where", "SAD", "MSE ×1000", "Grad", "Conn"], alphas, num_text=3),
        table(["SAD of", *(WORDS.get(kind, kind) for kind in KINDS)], photographs),
        ratio_table(facts["times"], "ours", "rembg"),
        table(["balanced at", "pixels of mixed alpha", "ms"], band),
        table(["foreground beside pymatting's, MSE", ""], foreground),
    )
    return "\n".join(tables)


if __name__ == "__main__":
    main()
