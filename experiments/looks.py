"""What a model's teachers would know: its own maps, averaged over the looks that `u2net train --teachers` takes.

    PYTHONPATH=benchmarks python experiments/looks.py DATA [--model u2netp_distilled] [--every 5] [--json FILE]

DATA is a folder or tar of pictures and masks, of which every so many are taken. The first row is the model as it is;
what the others are ahead of it is what it could learn from itself.
"""

from itertools import chain

import numpy as np
import torch
from bench import every, new_parser, publish, table
from numpy.typing import NDArray

from u2net.evaluation.dataset import load_grey, open_dataset
from u2net.evaluation.metrics import MAE, BoundaryIoU, FMeasure, Measure, Pair, SMeasure, WeightedF
from u2net.images.load import load_image
from u2net.models.zoo import resolve
from u2net.net import load_checkpoint
from u2net.training import TrainConfig
from u2net.training.objective import Teachers

AVERAGED: tuple[tuple[str, ...], ...] = (
    ("plain",),
    ("mirrored",),
    ("upside-down",),
    ("smaller",),
    ("plain", "mirrored"),
    ("plain", "upside-down"),
    ("plain", "smaller-mirrored"),
    ("plain", "mirrored", "upside-down"),
    ("plain", "smaller-mirrored", "upside-down"),
    ("plain", "mirrored", "upside-down", "smaller", "smaller-mirrored"),
)
COLUMNS = ("maxF", "MAE", "Fw", "Sm", "BIoU")


def main() -> None:
    """Measure, print, write if asked."""
    parser = new_parser(__doc__, "40 pictures")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--model", default="u2netp_distilled", metavar="NAME|FILE")
    parser.add_argument("--every", type=int, default=5, metavar="N")
    arguments = parser.parse_args()
    examples = every(open_dataset(arguments.data).examples, arguments.every, quick=arguments.quick)
    transform = load_checkpoint(resolve(arguments.model)).card.transform
    seen_by = {
        look: Teachers(TrainConfig(teachers=(arguments.model,), looks=(look,)))
        for look in dict.fromkeys(chain.from_iterable(AVERAGED))
    }
    measures: dict[tuple[str, ...], list[Measure]] = {
        looks: [FMeasure(), MAE(), WeightedF(), SMeasure(), BoundaryIoU()] for looks in AVERAGED
    }
    for example in examples:
        assert example.image
        assert example.mask
        image, truth = load_image(example.image.read()).view(), load_grey(example.mask)
        pixels = torch.from_numpy(transform.preprocess(image))[None]
        logits = {look: to_logits(teacher(pixels)[0].numpy() / 255) for look, teacher in seen_by.items()}
        for looks, taken in measures.items():
            mean = np.mean([logits[look] for look in looks], axis=0)
            pair = Pair(transform.mask((1 / (1 + np.exp(-mean))).astype(np.float32), image.size), truth)
            for measure in taken:
                measure.step(pair)
    rows = [
        {"looks": ", ".join(looks)}
        | {key: float(value) for one in taken for key, value in one.results().items() if key in COLUMNS}
        for looks, taken in measures.items()
    ]
    cells = ([row["looks"], *(f"{row[key]:.4f}" for key in COLUMNS)] for row in rows)
    facts = {"pictures": len(examples), "rows": rows}
    publish(arguments, facts, table(["looks, averaged", *COLUMNS], cells), f"{len(examples)} pictures")


def to_logits(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of probabilities in [0, 1]; finite."""
    clipped = probability.astype(np.float64).clip(1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)))


if __name__ == "__main__":
    main()
