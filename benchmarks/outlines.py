"""What refinement does to the masks of salient-object data.

    python benchmarks/outlines.py DATA [--every 5] [--model NAME] [--quick] [--json FILE]
    python benchmarks/outlines.py --run RUN [--largest N] [--quick] [--json FILE]

Measures the mask as it is and refined by each quality. DATA is a folder or tar of pictures and masks, of which every
N-th is taken. With --run, the pictures are those that a training run kept back (or the N largest of them), and the
model is the one that the run made, which never saw their outlines. "best" is "balanced" on the mean of the masks of a
picture and its mirror image.
"""

from pathlib import Path
from typing import Any

from bench import every, new_parser, publish, table

from u2net import Session, new_session
from u2net.cutout.matting.refine import refine
from u2net.evaluation.dataset import Example, load_grey, open_dataset
from u2net.evaluation.metrics import MAE, BoundaryIoU, FMeasure, Pair, RelaxedF
from u2net.images.load import load_image

MEASURES = (FMeasure, MAE, BoundaryIoU, RelaxedF)
COLUMNS = ("maxF", "MAE", "BIoU", "relaxF")
WORDS = {"mask": "the mask as it is"}


def main() -> None:
    """Measure, print, write if asked."""
    parser = new_parser(__doc__, "40 pictures")
    parser.add_argument("data", nargs="?", metavar="DATA")
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--model", default="u2netp", metavar="NAME")
    parser.add_argument("--run", type=Path, metavar="RUN")
    parser.add_argument("--largest", type=int, metavar="N")
    arguments = parser.parse_args()
    if (arguments.data is None) == (arguments.run is None):
        parser.error("give DATA or --run")
    if arguments.run:
        examples, model = kept_back(arguments.run), arguments.run / "model.onnx"
        if arguments.largest:
            examples = sorted(examples, key=lambda example: -load_grey(example.mask).size)[: arguments.largest]
    else:
        examples, model = open_dataset(arguments.data).examples, arguments.model
    examples = every(examples, arguments.every, quick=arguments.quick)
    rows = score(examples, new_session(model, runtime="onnxruntime"))
    cells = ([WORDS.get(row["alpha"], row["alpha"]), *(f"{row[key]:.4f}" for key in COLUMNS)] for row in rows)
    facts = {"pictures": len(examples), "rows": rows}
    publish(arguments, facts, table(["", *COLUMNS], cells), f"{len(examples)} pictures")


def kept_back(run: Path) -> list[Example]:
    """The pictures that a training run validated on and never trained on."""
    from u2net.training.config import TrainConfig
    from u2net.training.examples import open_examples

    _, validation = open_examples(TrainConfig.from_json((run / "config.json").read_text(encoding="utf-8")))
    return [example for dataset in validation for example in dataset]


def score(examples: list[Example], session: Session) -> list[dict[str, Any]]:
    """A row for the mask and one for each quality."""
    measures = {kind: [measure() for measure in MEASURES] for kind in ("mask", "fast", "balanced", "best")}
    for example in examples:
        picture, truth = load_image(example.image.read()), load_grey(example.mask)
        mask = session.mask(picture)
        alphas = {
            "mask": mask,
            "fast": refine(picture.rgb, mask, "fast"),
            "balanced": refine(picture.rgb, mask, "balanced"),
            "best": refine(picture.rgb, session.predict(picture, looks=2).mask, "balanced"),
        }
        for kind, alpha in alphas.items():
            for measure in measures[kind]:
                measure.step(Pair(alpha, truth))
    results = {kind: {k: v for one in ones for k, v in one.results().items()} for kind, ones in measures.items()}
    return [{"alpha": kind} | {key: float(found[key]) for key in COLUMNS} for kind, found in results.items()]


if __name__ == "__main__":
    main()
