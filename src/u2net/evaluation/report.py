"""Evaluations as tables, curves, rows for each picture, and sheets of the worst pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from u2net.errors import MissingExtra, printable
from u2net.evaluation.dataset import Dataset, Example, load_grey, load_indices
from u2net.evaluation.evaluate import Evaluation, Predict, classes_of
from u2net.evaluation.metrics import MATTING, SALIENCY, ClassIoU, Measure
from u2net.images.load import load_image
from u2net.images.save import save_image
from u2net.system.files import atomic_write

CURVE_KINDS = ("png", "pdf", "svg")
"""Kinds of files for curves, by suffix."""

_MEASURES: tuple[type[Measure], ...] = (*SALIENCY, ClassIoU, *MATTING)
_COLUMNS = [name for measure in _MEASURES for name in measure.in_tables]  # if measured: those of the paper first
_LOWER_IS_BETTER = {name for measure in _MEASURES if measure.lower_is_better for name in measure.in_tables}
_TILE = (240, 180)  # width and height of a picture on a contact sheet


def to_table(evaluations: Sequence[Evaluation], style: Literal["markdown", "latex"] = "markdown") -> str:
    """One row for each data set and model, scores as papers print them (.943), the best of a data set in bold.

    Each class has a column. A missing score is a dash. Beside the number of pictures stands that of resized maps.
    """
    measured = list(dict.fromkeys(name for evaluation in evaluations for name in evaluation.scores))
    columns = [name for name in _COLUMNS if name in measured]
    columns += [name for name in measured if name.startswith("IoU ")]
    bold = "**{}**" if style == "markdown" else r"\textbf{{{}}}"
    rows = []
    for evaluation in evaluations:
        rivals = [e.scores for e in evaluations if e.dataset == evaluation.dataset]
        resized = f" ({evaluation.num_resized} maps resized)" if evaluation.num_resized else ""
        cells = [printable(evaluation.dataset), printable(evaluation.model), f"{evaluation.num_pictures}{resized}"]
        for name in columns:
            if name not in evaluation.scores:
                cells.append("–")
                continue
            best = (min if name in _LOWER_IS_BETTER else max)(scores[name] for scores in rivals if name in scores)
            text = _published(evaluation.scores[name])
            is_best = len(rivals) > 1 and text == _published(best)
            cells.append(bold.format(text) if is_best else text)
        rows.append(cells)
    header = ["data set", "model", "pictures", *columns]
    if style == "markdown":
        lines = [header, ["---"] * 3 + ["---:"] * len(columns), *rows]
        escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
        return "\n".join(f"| {' | '.join(line)} |" for line in escaped)
    first, *others = (" & ".join(map(_escaped, line)) + r" \\" for line in [header, *rows])
    begin = rf"\begin{{tabular}}{{lll{'r' * len(columns)}}}"
    return "\n".join([begin, r"\hline", first, r"\hline", *others, r"\hline", r"\end{tabular}"])


def to_json(evaluations: Sequence[Evaluation]) -> str:
    """Everything: scores, curves, rows, failures."""
    return json.dumps([asdict(e) for e in evaluations], indent=1, default=np.ndarray.tolist, ensure_ascii=False) + "\n"


def to_csv(evaluations: Sequence[Evaluation]) -> str:
    """One line a picture."""
    rows = [{"data set": e.dataset, "model": e.model, **row} for e in evaluations for row in e.pictures]
    buffer = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def save_text(text: str, path: str | PathLike[str]) -> None:
    """Write a text to a file, whole or not at all. Raises OSError."""
    with atomic_write(path) as file:
        file.write(text.encode())


def save_curves(evaluations: Sequence[Evaluation], path: str | PathLike[str]) -> None:
    """Precision against recall, and F against threshold, as .png, .pdf or .svg.

    Raises MissingExtra without matplotlib, ValueError for another suffix or evaluations without curves, and OSError.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("curves need: pip install 'u2net[eval]'") from None
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in CURVE_KINDS:
        raise ValueError(f"curves are .png, .pdf or .svg, not {Path(path).name}")
    without = [evaluation.model for evaluation in evaluations if not evaluation.curves]
    if without:
        raise ValueError(f"{without[0]} has no curves: they need FMeasure")
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for evaluation in evaluations:
        curves = evaluation.curves
        label = f"{evaluation.model}, {evaluation.dataset}: maxF {_published(evaluation.scores['maxF'])}"
        left.plot(curves["recall"], curves["precision"], label=label)
        right.plot(np.arange(len(curves["F"])), curves["F"])
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    right.set(xlabel="threshold", ylabel="F (β² = 0.3)", xlim=(0, 255), ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(loc="lower left", fontsize="small")
    with atomic_write(path) as file:
        figure.savefig(file, format=kind, dpi=150)


def save_sheet(
    evaluation: Evaluation,
    dataset: Dataset,
    predict: Predict,
    path: str | PathLike[str],
    num: int,
    by: str | None = None,
) -> None:
    """Draw the `num` pictures with the worst score `by` (by default the first score): picture, ground truth, map."""
    by = by or next(iter(evaluation.scores))
    worst = sorted(evaluation.pictures, key=lambda row: row[by], reverse=by in _LOWER_IS_BETTER)[:num]
    examples = {example.name: example for example in dataset}
    captions = [(examples[row["name"]], f"{row['name']}   {by} {_published(row[by])}") for row in worst]
    save_examples(captions, predict, path)


def save_examples(captions: Sequence[tuple[Example, str]], predict: Predict, path: str | PathLike[str]) -> None:
    """Draw examples with captions, one a row: picture, ground truth, map. Classes have the colours of PASCAL VOC."""
    has_classes = bool(classes_of(predict))
    width, height = _TILE
    sheet = Image.new("RGB", (3 * width + 4 * 8, len(captions) * (height + 30)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (example, caption) in enumerate(captions):
        assert example.mask is not None
        tiles = [(load_indices if has_classes else load_grey)(example.mask), predict(example)]
        shown = [(_coloured if has_classes else Image.fromarray)(tile).convert("RGB") for tile in tiles]
        if example.image is not None:
            shown.insert(0, load_image(example.image.read()).view())
        top = index * (height + 30)
        draw.text((8, top + 6), caption, fill="black", font_size=14)
        for column, tile in enumerate(shown):
            tile.thumbnail(_TILE)
            sheet.paste(tile, (8 + column * (width + 8), top + 26))
    save_image(sheet, path)


def _published(value: float) -> str:
    """.943 for 0.943, as papers print scores."""
    text = f"{value:.3f}"
    return text.removeprefix("0") if abs(value) < 1 else text


def _coloured(indices: NDArray[np.uint8]) -> Image.Image:
    """Mode P: indices in the colours of PASCAL VOC, whose bits are those of the index, given to R, G and B in turn."""
    index = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= ((index >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    return image


def _escaped(cell: str) -> str:
    return cell.replace("_", r"\_").replace("%", r"\%").replace("&", r"\&")
