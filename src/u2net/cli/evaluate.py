"""`u2net evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from u2net.cli.failure import Refusal, one_line_errors, say, say_json
from u2net.cli.options import check_free, config_options, overwrite_option
from u2net.errors import BadPictures
from u2net.training.config import TrainConfig

_PATH = click.Path(path_type=Path)  # the library reports a missing path in one line
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("data", nargs=-1, type=_PATH)
@click.option("--images", type=_PATH, help="Folder or tar of pictures.")
@click.option("--masks", type=_PATH, help="Folder or tar of ground truth.")
@config_options(TrainConfig, only={"mask_suffix"})
@click.option(
    "-m", "--model", "models", multiple=True, metavar="NAME|FILE", help="Model to measure; repeat to compare several."
)
@click.option("--maps", multiple=True, type=_PATH, help="Folder or tar of maps that a model made; repeatable.")
@click.option("--map-suffix", help="What names of maps have behind those of pictures: _sal_fuse for NAME_sal_fuse.png.")
@click.option("--resize-maps", is_flag=True, help="Fit maps of another size to the ground truth; the table says so.")
@click.option(
    "--threshold",
    type=click.IntRange(0, 254),
    default=128,
    show_default=True,
    help="Ground truth brighter than this counts as subject.",
)
@click.option(
    "--ignore-index",
    type=click.IntRange(0, 255),
    default=255,
    show_default=True,
    help="Class index in masks that is not measured.",
)
@click.option("--mattes", is_flag=True, help="Also print SAD, MSE, Grad and Conn, for soft ground truth.")
@click.option("--skip-bad", is_flag=True, help="Leave out pictures that cannot be measured, instead of failing.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["markdown", "latex", "json"]),
    default="markdown",
    show_default=True,
    help="Format of what is printed.",
)
@click.option("--json", "json_path", type=_FILE, help="Write scores, curves and the scores of each picture.")
@click.option("--csv", "csv_path", type=_FILE, help="Write the scores of each picture, one a line.")
@click.option("--plot", "plot_path", type=_FILE, help="Draw precision-recall and F curves (.png, .pdf or .svg).")
@click.option("--worst", type=click.IntRange(1, 200), default=20, show_default=True, help="Pictures on the sheet.")
@click.option("--sheet", "sheet_path", type=_FILE, help="Draw the worst pictures of the first model (.png or .jpg).")
@overwrite_option
def evaluate(
    data: tuple[Path, ...],
    images: Path | None,
    masks: Path | None,
    mask_suffix: str | None,
    models: tuple[str, ...],
    maps: tuple[Path, ...],
    map_suffix: str | None,
    resize_maps: bool,
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
    overwrite: bool,
) -> None:
    """Measure models, or maps that models made, on data sets with ground truth.

    DATA is one or more folders or tar archives with pictures and masks; or give --images and --masks. A model with
    three classes or more needs masks that store class indices, as grey levels or with a palette.

    Example: u2net evaluate ECSSD -m u2netp -m u2net.onnx --plot curves.png
    """
    if bool(data) == (masks is not None):
        raise Refusal("give DATA, or --masks with --images or --maps")
    if images is None and masks is not None and not maps:
        raise Refusal("a model needs --images")
    if map_suffix and not maps:
        raise Refusal("--map-suffix is for --maps")
    check_free(json_path, csv_path, plot_path, sheet_path, overwrite=overwrite)
    with one_line_errors():
        from tqdm import tqdm

        from u2net.evaluation import evaluate as evaluation
        from u2net.evaluation import report
        from u2net.evaluation.layout import common_ending
        from u2net.evaluation.metrics import MATTING, SALIENCY

        quiet = not sys.stderr.isatty()
        measures = SALIENCY + MATTING if mattes else None
        predicts = [evaluation.as_predict(None, path, map_suffix or "") for path in maps]
        predicts += [evaluation.as_predict(name) for name in models or ([] if maps else [None])]
        if (plot_path or mattes) and any(evaluation.classes_of(predict) for predict, _ in predicts):
            raise Refusal("a model with several classes has no curves to --plot, and its maps are no --mattes")
        if plot_path and plot_path.suffix.lower().removeprefix(".") not in report.CURVE_KINDS:
            raise Refusal(f"--plot draws .{', .'.join(report.CURVE_KINDS)}, not {plot_path.name}")
        suffix = mask_suffix or ""
        datasets = [evaluation.as_dataset(path, mask_suffix=suffix) for path in data]
        datasets = datasets or [evaluation.as_dataset(None, images, masks, suffix)]
        done = []
        for dataset in datasets:
            say(f"{dataset.name}: {dataset.layout}", err=True)
            for predict, name in predicts:
                if isinstance(predict, evaluation.SavedMaps) and (unused := predict.unused(dataset)):
                    listed = ", ".join(unused[:5]) + (" …" if len(unused) > 5 else "")
                    if ending := common_ending({example.name for example in dataset}, unused):
                        listed += f"; --map-suffix {ending} takes those that end so"
                    say(f"{name}: {len(unused)} maps have no mask and are not measured: {listed}", err=True)
                try:
                    result = evaluation.evaluate(
                        dataset,
                        predict,
                        name=name,
                        measures=measures,
                        threshold=threshold,
                        ignore_index=ignore_index,
                        resize_maps=resize_maps,
                        skip_bad=skip_bad,
                        progress=lambda examples: tqdm(examples, unit="picture", leave=False, disable=quiet),
                    )
                except BadPictures as error:
                    for bad, reason in error.failures:
                        say(f"u2net: {bad}: {reason}", err=True)
                    advice = "--skip-bad leaves them out"
                    if maps and any("pixels, its mask" in reason for _, reason in error.failures):
                        advice += ", and --resize-maps fits maps to their masks"
                    say(f"u2net: {len(error.failures)} pictures cannot be measured; {advice}", err=True)
                    sys.exit(1)
                for bad, reason in result.failures:
                    say(f"left out {bad}: {reason}", err=True)
                done.append(result)
        if style == "json":
            say_json(report.to_json(done).rstrip())
        else:
            say(*report.to_table(done, style).split("\n"))
        for path, text in ((json_path, report.to_json), (csv_path, report.to_csv)):
            if path:
                report.save_text(text(done), path)
        if plot_path:
            report.save_curves(done, plot_path)
        if sheet_path:
            report.save_sheet(done[0], datasets[0], predicts[0][0], sheet_path, worst)
