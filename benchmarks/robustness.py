"""How much a model's maps change when the picture is shrunk, compressed, or resized by another kernel.

    python benchmarks/robustness.py DATA [--every 5] [--model NAME|FILE]… [--quick] [--json FILE]

DATA is a folder or tar of pictures and masks, of which every N-th is taken. Each model gets every picture by its own
Transform: as it is, at half its sides, after JPEG at quality 30, and resized to the network's size by each of four
kernels instead of the Transform's. Maps are measured at the size of the truth.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from bench import every, new_parser, publish, table
from PIL import Image

from u2net import Session, new_session
from u2net.evaluation.dataset import Example, load_grey, open_dataset
from u2net.evaluation.metrics import MAE, BoundaryIoU, FMeasure, Measure, Pair, WeightedF
from u2net.images.load import load_image
from u2net.models.transform import AUTHORS

Change = Callable[[Image.Image, tuple[int, int]], Image.Image]
"""From a picture ("RGB") and the size that the network takes, (width, height), to another."""

COLUMNS = ("maxF", "MAE", "Fw", "BIoU")


def aliased(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """By the authors' kernel: four taps, however much smaller the picture becomes."""
    pixels = replace(AUTHORS, size=size).resize(image)
    return Image.fromarray((pixels + 0.5).astype(np.uint8))


def by(kernel: Image.Resampling) -> Change:
    """By a kernel of Pillow's, which widens when it shrinks."""
    return lambda image, size: image.resize(size, kernel)


def halved(image: Image.Image, _: tuple[int, int]) -> Image.Image:
    """Half as wide and high."""
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)


def compressed(image: Image.Image, _: tuple[int, int]) -> Image.Image:
    """JPEG at quality 30."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(buffer).convert("RGB")


CHANGES: dict[str, Change] = {
    "as it is": lambda image, _: image,
    "half its sides": halved,
    "JPEG, quality 30": compressed,
    "resized: bilinear, four taps": aliased,
    "resized: bilinear": by(Image.Resampling.BILINEAR),
    "resized: area": by(Image.Resampling.BOX),
    "resized: Lanczos": by(Image.Resampling.LANCZOS),
}


@dataclass(frozen=True)
class Side:
    """One model and what it scored after each change."""

    name: str
    session: Session
    measures: dict[str, list[Measure]]


def main() -> None:
    """Measure, print, write if asked."""
    parser = new_parser(__doc__, "40 pictures")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--model", action="append", metavar="NAME|FILE", help="a model; several stand side by side")
    arguments = parser.parse_args()
    models = arguments.model or ["u2netp"]
    examples = every(open_dataset(arguments.data).examples, arguments.every, quick=arguments.quick)
    rows = score(examples, models)
    cells = ([row["picture"], row["model"], *(f"{row[key]:.4f}" for key in COLUMNS)] for row in rows)
    text = table(["the picture", "model", *COLUMNS], cells, num_text=2)
    publish(arguments, {"pictures": len(examples), "rows": rows}, text, f"{len(examples)} pictures")


def score(examples: list[Example], models: list[str]) -> list[dict[str, Any]]:
    """A row for each change and model."""
    sides = [
        Side(Path(model).name, new_session(model, precision="fp32"), {change: new_measures() for change in CHANGES})
        for model in models
    ]
    for example in examples:
        assert example.image
        assert example.mask
        image, truth = load_image(example.image.read()).view(), load_grey(example.mask)
        for side in sides:
            transform = side.session.card.transform
            for change, make in CHANGES.items():
                output = side.session.backend(transform.preprocess(make(image, transform.size))[None])[0]
                pair = Pair(transform.mask(output, image.size), truth)
                for measure in side.measures[change]:
                    measure.step(pair)
    return [
        {"picture": change, "model": side.name}
        | {key: float(value) for one in side.measures[change] for key, value in one.results().items() if key in COLUMNS}
        for change in CHANGES
        for side in sides
    ]


def new_measures() -> list[Measure]:
    """Those of the table, with nothing taken in."""
    return [FMeasure(), MAE(), WeightedF(), BoundaryIoU()]


if __name__ == "__main__":
    main()
