"""`u2net evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from u2net.cli.failure import Refusal, one_line_errors
from u2net.errors import BadPictures

_PATH = click.Path(path_type=Path)  # what is not there is told of in one line, by the library
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("data", nargs=-1, type=_PATH)
@click.option("--images", type=_PATH, help="Folder or tar of pictures.")
@click.option("--masks", type=_PATH, help="Folder or tar of ground truth.")
@click.option(
    "-m", "--model", "models", multiple=True, metavar="NAME|FILE", help="A model; several stand side by side."
)
@click.option("--maps", multiple=True, type=_PATH, help="Folder or tar of maps that a model left; repeatable.")
@click.option(
    "--threshold",
    type=click.IntRange(0, 254),
    default=128,
    show_default=True,
    help="Grey truth counts as subject above it.",
)
@click.option(
    "--ignore-index",
    type=click.IntRange(0, 255),
    default=255,
    show_default=True,
    help="Index in masks of several classes that is not measured.",
)
@click.option("--mattes", is_flag=True, help="Soft ground truth: SAD, MSE, Grad and Conn too.")
@click.option("--skip-bad", is_flag=True, help="Leave out pictures that cannot be measured, instead of failing.")
@click.option(
    "--format", "style", type=click.Choice(["markdown", "latex", "json"]), default="markdown", show_default=True
)
@click.option("--json", "json_path", type=_FILE, help="Write everything: scores, curves, rows.")
@click.option("--csv", "csv_path", type=_FILE, help="Write a line for each picture.")
@click.option("--plot", "plot_path", type=_FILE, help="Draw curves into a .png, .pdf or .svg.")
@click.option("--worst", type=click.IntRange(1, 200), default=20, show_default=True, help="Pictures on the sheet.")
@click.option(
    "--sheet", "sheet_path", type=_FILE, help="Write the worst pictures of the first model into a .png or .jpg."
)
def evaluate(
    data: tuple[Path, ...],
    images: Path | None,
    masks: Path | None,
    models: tuple[str, ...],
    maps: tuple[Path, ...],
    threshold: int,
    ignore_index: int,
    mattes: bool,
    skip_bad: bool,
    style: Literal["markdown", "latex", "json"],
    json_path: Path | None,
    csv_path: Path | None,
    plot_path: Path | None,
    worst: int,
    sheet_path: Path | None,
) -> None:
    """Measure models, or maps that they left, on data sets with ground truth.

    DATA are folders or tar archives that hold pictures and masks; or name the two by --images and --masks. A model with
    three classes or more is measured on masks of indices, grey or with a palette.
    """
    if bool(data) == (masks is not None):
        raise Refusal("give DATA, or --masks with --images or --maps")
    if images is None and masks is not None and not maps:
        raise Refusal("a model needs --images")
    with one_line_errors():
        from tqdm import tqdm

        from u2net.evaluation import evaluate as evaluation
        from u2net.evaluation import report
        from u2net.evaluation.metrics import MATTING, SALIENCY

        quiet = not sys.stderr.isatty()
        measures = SALIENCY + MATTING if mattes else None
        predicts = [evaluation.as_predict(None, path) for path in maps]
        predicts += [evaluation.as_predict(name) for name in models or ([] if maps else [None])]
        if (plot_path or mattes) and any(isinstance(predict, evaluation.Labeller) for predict, _ in predicts):
            raise Refusal("a model with several classes has no curves to --plot, and its maps are no --mattes")
        if plot_path and plot_path.suffix.lower().removeprefix(".") not in report.CURVE_KINDS:
            raise Refusal(f"--plot draws .{', .'.join(report.CURVE_KINDS)}, not {plot_path.name}")
        datasets = [evaluation.as_dataset(path) for path in data] or [evaluation.as_dataset(None, images, masks)]
        done = []
        for dataset in datasets:
            click.echo(f"{dataset.name}: {dataset.layout}", err=True)
            for predict, name in predicts:
                if isinstance(predict, evaluation.Maps) and (beyond := predict.names_beyond(dataset)):
                    click.echo(
                        f"{name}: {len(beyond)} maps have no mask and are not measured: {_some(beyond)}", err=True
                    )
                try:
                    result = evaluation.evaluate(
                        dataset,
                        predict,
                        name=name,
                        measures=measures,
                        threshold=threshold,
                        ignore_index=ignore_index,
                        skip_bad=skip_bad,
                        progress=lambda examples: tqdm(examples, unit="picture", leave=False, disable=quiet),
                    )
                except BadPictures as error:
                    for bad, reason in error.failures:
                        click.echo(f"u2net: {bad}: {reason}", err=True)
                    click.echo(
                        f"u2net: {len(error.failures)} pictures cannot be measured; --skip-bad leaves them out",
                        err=True,
                    )
                    sys.exit(1)
                for bad, reason in result.failures:
                    click.echo(f"left out {bad}: {reason}", err=True)
                done.append(result)
        click.echo(report.to_json(done).rstrip() if style == "json" else report.to_table(done, style))
        for path, text in ((json_path, report.to_json), (csv_path, report.to_csv)):
            if path:
                report.save_text(text(done), path)
        if plot_path:
            report.save_curves(done, plot_path)
        if sheet_path:
            report.save_sheet(done[0], datasets[0], predicts[0][0], sheet_path, worst)


def _some(names: list[str], most: int = 5) -> str:
    """The first of many names."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")
