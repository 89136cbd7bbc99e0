"""Whether one model is ahead of another by more than chance, or several looks of a model ahead of one.

    python benchmarks/chance.py DATA --model NAME|FILE [--model NAME|FILE] [--looks 1 2]
        [--precision fp32] [--every 1] [--draws 2000] [--quick] [--json FILE]

DATA is a folder or tar of pictures and masks. Both models see the same pictures, each by its own Transform, and look at
each as often as --looks says; a model that is given alone is compared with itself. As many
pictures as there are are drawn from them with replacement, again and again, and both are scored on each draw (paired
bootstrap; Efron and Tibshirani, An Introduction to the Bootstrap, 1993): so the second model's lead gets an interval
that holds it in 95 of 100 draws. That says how much pictures of this kind matter; it knows nothing of other kinds, nor
of how often the set was looked at while the models were chosen.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench import every, new_parser, publish, table
from numpy.typing import NDArray

from u2net import Session, new_session
from u2net.evaluation.dataset import Example, load_grey, open_dataset
from u2net.evaluation.metrics import SALIENCY, Measure, Pair
from u2net.images.load import load_image

SHOWN = ("maxF", "MAE", "Fw", "Sm", "maxE", "meanE", "relaxF", "IoU", "BIoU", "maxF per picture")
LESS_IS_BETTER = ("MAE",)


def main() -> None:
    """Measure, draw, print, write if asked."""
    parser = new_parser(__doc__, "40 pictures")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument(
        "--model", action="append", required=True, metavar="NAME|FILE", help="give it twice, or --looks"
    )
    parser.add_argument("--looks", type=int, nargs=2, default=[1, 1], metavar="N", help="looks of either")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "int8"])
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--draws", type=int, default=2000, metavar="N")
    arguments = parser.parse_args()
    models = arguments.model * (2 if len(arguments.model) == 1 else 1)
    if len(models) != 2:
        parser.error("two models are compared")
    examples = every(open_dataset(arguments.data).examples, arguments.every, quick=arguments.quick)
    counts = np.random.default_rng(0).multinomial(len(examples), [1 / len(examples)] * len(examples), arguments.draws)
    counts = np.vstack([np.ones(len(examples), dtype=np.int64), counts])  # the set as it is comes first
    sessions = [new_session(model, precision=arguments.precision) for model in models]
    first, second = (
        scores(session, looks, examples, counts) for session, looks in zip(sessions, arguments.looks, strict=True)
    )
    rows = []
    for measure in SHOWN:
        lead = second[measure] - first[measure]
        ahead = -lead if measure in LESS_IS_BETTER else lead
        low, high = np.quantile(lead[1:], (0.025, 0.975))
        rows.append(
            {
                "measure": measure,
                "first": float(first[measure][0]),
                "second": float(second[measure][0]),
                "difference": float(lead[0]),
                "low": float(low),
                "high": float(high),
                "ahead": float((ahead[1:] > 0).mean()),
            }
        )
    names = [
        f"{Path(model).name}{f', {looks} looks' if looks > 1 else ''}"
        for model, looks in zip(models, arguments.looks, strict=True)
    ]
    facts = {"pictures": len(examples), "draws": arguments.draws, "models": names, "rows": rows}
    about = f"{len(examples)} pictures, {arguments.draws:,} draws"
    publish(arguments, facts, to_markdown(names, rows), about)


def scores(
    session: Session, looks: int, examples: list[Example], counts: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Each score of each draw, by name; `counts`, (draws, pictures), is how often a draw has each picture."""
    taken: dict[type[Measure], list[Measure]] = {kind: [] for kind in SALIENCY}
    for example in examples:
        assert example.image
        assert example.mask
        pair = Pair(session.predict(load_image(example.image.read()), looks).mask, load_grey(example.mask))
        for kind, of_pictures in taken.items():
            measure = kind()
            measure.step(pair)
            of_pictures.append(measure)
    found: dict[str, NDArray[np.float64]] = {}
    for of_pictures in taken.values():
        drawn = [measure.results() for measure in draws(of_pictures, counts)]
        found |= {name: np.array([result[name] for result in drawn]) for name in drawn[0]}
    return found


def draws(measures: Sequence[Measure], counts: NDArray[np.int64]) -> list[Measure]:
    """For each draw a measure that has taken in what was drawn, some pictures never and others several times."""
    made = [type(measures[0])() for _ in counts]
    for name in measures[0].sums:
        sums = np.tensordot(counts, np.array([measure.sums[name] for measure in measures]), axes=1)
        for measure, total in zip(made, sums, strict=True):
            measure.sums[name] = total
    for measure, num in zip(made, counts.sum(axis=1), strict=True):
        measure.num_pairs = num
    return made


def to_markdown(models: list[str], rows: list[dict[str, Any]]) -> str:
    """The table."""
    cells = (
        [
            row["measure"],
            *(f"{row[key]:.4f}" for key in ("first", "second")),
            f"{row['difference']:+.4f}",
            f"{row['low']:+.4f} to {row['high']:+.4f}",
            f"{100 * row['ahead']:.1f} %",
        ]
        for row in rows
    )
    return table(["", *models, "difference", "in 95 of 100 draws", "ahead in"], cells)


if __name__ == "__main__":
    main()
