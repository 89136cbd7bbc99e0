"""How well the confidence separates pictures with a subject from pictures without one.

    python benchmarks/emptiness.py ECSSD [--model u2netp] [--num 100] [--precision auto] [--quick] [--json FILE]

ECSSD is a folder or tar of pictures and masks; every tenth picture is one with a subject. Pictures without a subject
are of two kinds: drawn (skies, gradients, walls, textures, noise; the same every time), and cut from beside the
subjects of other pictures of ECSSD, where the part is large enough. The area under the ROC curve is the share of pairs,
one with and one without a subject, in which the one with a subject has the higher confidence.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench import new_parser, publish, table
from numpy.typing import NDArray
from PIL import Image

from u2net import new_session
from u2net.evaluation.dataset import Dataset, load_grey, open_dataset
from u2net.images.load import load_image
from u2net.inference.session import EMPTY

Floats = NDArray[np.float64]
SIZE = (400, 300)
APART = 0.35  # of a picture's width and height, at least, that a part beside its subject has
EDGES = np.linspace(0, 1, 11)  # of the bins of the calibration error


def main() -> None:
    """Score, print, write if asked."""
    parser = new_parser(__doc__, "20 pictures of each kind")
    parser.add_argument("ecssd", help="a folder or tar of pictures and masks")
    parser.add_argument("--model", default="u2netp", metavar="NAME|FILE")
    parser.add_argument("--num", type=int, default=100, help="pictures of each kind")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "int8"])
    arguments = parser.parse_args()
    arguments.num = min(arguments.num, 20) if arguments.quick else arguments.num
    session = new_session(arguments.model, precision=arguments.precision)
    dataset = open_dataset(arguments.ecssd)
    step = max(len(dataset) // arguments.num, 1)
    shown = [load_image(example.image.read()).rgb for example in dataset.examples[::step]]
    empty = {
        "drawn": [draw(seed) for seed in range(arguments.num)],
        "beside a subject": list(beside(dataset, step, arguments.num)),
    }
    of_subjects = confidences(session, shown)
    scored = {name: confidences(session, images) for name, images in empty.items()}
    scored["either"] = np.concatenate(list(scored.values()))
    rows = [row(name, of_subjects, scores) for name, scores in scored.items()]
    head = ["without a subject", "pictures with, without", "ROC area", "calibration error"]
    head += ["below 0.1, without", "and with"]
    cells = (
        [
            r["without a subject"],
            f"{r['with']}, {r['without']}",
            *(f"{r[key]:.3f}" for key in ("ROC area", "calibration error")),
            *(f"{r[key]:.0%}" for key in ("found empty, without", "found empty, with")),
        ]
        for r in rows
    )
    facts = {"model": Path(arguments.model).name, "precision": arguments.precision, "rows": rows}
    publish(arguments, facts, table(head, cells), f"{facts['model']}, {facts['precision']}")


def confidences(session: Any, images: list[Image.Image]) -> Floats:
    """The confidence of each picture."""
    return np.array([session.predict(image).confidence for image in images])


def row(name: str, shown: Floats, empty: Floats) -> dict[str, Any]:
    """ROC area, calibration error with as many pictures of either, and what lies below the limit of emptiness."""
    pairs = shown[:, None] - empty[None, :]
    weights = np.concatenate([np.full(len(shown), 0.5 / len(shown)), np.full(len(empty), 0.5 / len(empty))])
    scores, truths = np.concatenate([shown, empty]), np.repeat([1.0, 0.0], [len(shown), len(empty)])
    bins = np.digitize(scores, EDGES[1:-1])
    error = sum(abs(float((weights * (scores - truths))[bins == b].sum())) for b in range(len(EDGES) - 1))
    return {
        "without a subject": name,
        "with": len(shown),
        "without": len(empty),
        "ROC area": float(((pairs > 0) + 0.5 * (pairs == 0)).mean()),
        "calibration error": error,
        "found empty, without": float((empty < EMPTY).mean()),
        "found empty, with": float((shown < EMPTY).mean()),
    }


def beside(dataset: Dataset, step: int, num: int) -> Iterator[Image.Image]:
    """The largest parts left, right, above or below of subjects, from pictures that are not scored themselves."""
    found = 0
    for index, example in enumerate(dataset.examples):
        if found == num:
            return
        subject = load_grey(example.mask) >= 128
        if index % step == 0 or not subject.any():
            continue
        height, width = subject.shape
        rows, columns = np.flatnonzero(subject.any(axis=1)), np.flatnonzero(subject.any(axis=0))
        boxes = [
            (0, 0, columns[0], height),
            (columns[-1] + 1, 0, width, height),
            (0, 0, width, rows[0]),
            (0, rows[-1] + 1, width, height),
        ]
        box = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        if box[2] - box[0] >= APART * width and box[3] - box[1] >= APART * height:
            found += 1
            yield load_image(example.image.read()).rgb.crop(tuple(map(int, box)))


# ---- Drawing -------------------------------------------------------------------------------------------------


def draw(seed: int) -> Image.Image:
    """One of the kinds in turn, everything about it drawn from the seed."""
    rng = np.random.default_rng(seed)
    pixels = KINDS[seed % len(KINDS)](rng) + rng.normal(0, rng.uniform(0, 4), (SIZE[1], SIZE[0], 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def sky(rng: np.random.Generator) -> Floats:
    """Blue that pales downwards, with clouds."""
    top, bottom = np.array([60.0, 110, 190]) + rng.normal(0, 20, 3), np.array([190.0, 215, 240]) + rng.normal(0, 12, 3)
    clouds = (fractal(rng, 1.6) - rng.uniform(-0.5, 1)).clip(0, 1)[:, :, None]
    return blend(top, bottom, ramp(np.pi / 2)) * (1 - clouds) + rng.uniform(225, 250) * clouds


def gradient(rng: np.random.Generator) -> Floats:
    """From one colour to another in any direction."""
    return blend(rng.uniform(0, 255, 3), rng.uniform(0, 255, 3), ramp(rng.uniform(0, 2 * np.pi)))


def bricks(rng: np.random.Generator) -> Floats:
    """Rows of bricks of slightly different colours, with joints."""
    height, width, joint = rng.integers(12, 40), rng.integers(30, 90), rng.integers(1, 4)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    x = x + (y // height) % 2 * (width // 2)
    shade = rng.normal(0, 10, (SIZE[1] // height + 1, SIZE[0] // width + 2))[y // height, x // width]
    in_joint = (y % height < joint) | (x % width < joint)
    brick = np.array([150.0, 80, 60]) + rng.normal(0, 20, 3) + (shade + 6 * fractal(rng, 1.0))[:, :, None]
    return np.where(in_joint[:, :, None], rng.uniform(150, 200), brick)


def plaster(rng: np.random.Generator) -> Floats:
    """Rough, of one colour, lit from one side."""
    light = 1 + rng.uniform(0, 0.3) * (ramp(rng.uniform(0, 2 * np.pi)) - 0.5)
    rough = fractal(rng, rng.uniform(0.4, 1.4)) * rng.uniform(3, 12)
    return (rng.uniform(60, 230, 3) + rough[:, :, None]) * light[:, :, None]


def texture(rng: np.random.Generator) -> Floats:
    """Two colours mixed by noise of many sizes, as of grass, stone or sand."""
    mixed = 1 / (1 + np.exp(-fractal(rng, rng.uniform(0.5, 1.5)) * rng.uniform(0.5, 3)))
    first = rng.uniform(20, 235, 3)
    return blend(first, first + rng.normal(0, 45, 3), mixed)


def stripes(rng: np.random.Generator) -> Floats:
    """Waves of two colours, as of cloth, water or boards."""
    period, angle = rng.uniform(6, 50), rng.uniform(0, 2 * np.pi)
    length = ramp(angle) * np.hypot(*SIZE) + rng.uniform(0, 6) * fractal(rng, 1.5)
    first = rng.uniform(20, 235, 3)
    return blend(first, first + rng.normal(0, 40, 3), 0.5 + 0.5 * np.sin(2 * np.pi * length / period))


KINDS: tuple[Callable[[np.random.Generator], Floats], ...] = (sky, gradient, bricks, plaster, texture, stripes)


def fractal(rng: np.random.Generator, slope: float) -> Floats:
    """Noise whose amplitude falls with frequency to the power of `slope`: (H, W), mean 0 and deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(SIZE[1])[:, None], np.fft.fftfreq(SIZE[0])[None])
    spectrum = np.fft.fft2(rng.normal(size=(SIZE[1], SIZE[0]))) / np.maximum(frequency, 1 / max(SIZE)) ** slope
    values = np.fft.ifft2(spectrum).real
    return (values - values.mean()) / values.std()


def ramp(angle: float) -> Floats:
    """(H, W) from 0 to 1 in a direction."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] / np.array(SIZE[::-1])[:, None, None]
    values = np.cos(angle) * x + np.sin(angle) * y
    return (values - values.min()) / np.ptp(values)


def blend(first: Floats, second: Floats, weight: Floats) -> Floats:
    """From one colour to another by weights (H, W)."""
    return first + (second - first) * weight[:, :, None]


if __name__ == "__main__":
    main()
