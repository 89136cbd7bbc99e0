"""`u2net check-data`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from u2net.cli.failure import Refusal, one_line_errors, say
from u2net.cli.options import check_free, config_options, overwrite_option
from u2net.errors import InvalidDataset, printable
from u2net.training.config import TrainConfig

if TYPE_CHECKING:
    from u2net.evaluation.check import Finding, Kind, Report
    from u2net.evaluation.dataset import Dataset

_PATH = click.Path(exists=True, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_EXPECTED = "images/NAME.jpg with masks/NAME.png, or NAME.jpg beside NAME.png"
_NUM_LISTED = 5


@click.command("check-data")
@click.argument("data", nargs=-1, type=_PATH)
@click.option("--images", type=_PATH, help="Folder or tar of pictures.")
@click.option("--masks", type=_PATH, help="Folder or tar of their masks.")
@config_options(TrainConfig, only={"mask_suffix"})
@click.option("--validation", multiple=True, type=_PATH, help="Folder or tar of validation data; repeatable.")
@click.option(
    "--classes",
    default="2",
    metavar="N|NAME,NAME,…",
    show_default=True,
    help="Number or names of the classes, background first; with more than two, masks hold indices.",
)
@click.option(
    "--ignore-index",
    type=click.IntRange(0, 255),
    default=255,
    show_default=True,
    help="Mask index that is no class.",
)
@click.option("--all", "list_all", is_flag=True, help="List every finding; without it, five of each kind.")
@click.option("--sheet", "sheet_path", type=_FILE, help="Draw masks over pictures (.png, .webp or .jpg).")
@click.option("--json", "json_path", type=_FILE, help="Write every finding.")
@click.option("--threads", type=click.IntRange(1, 256), help="Pictures read at once.  [default: processors]")
@overwrite_option
def check_data(
    data: tuple[Path, ...],
    images: Path | None,
    masks: Path | None,
    mask_suffix: str | None,
    validation: tuple[Path, ...],
    classes: str,
    ignore_index: int,
    list_all: bool,
    sheet_path: Path | None,
    json_path: Path | None,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Find errors in training data, and say what training does about each.

    DATA is one or more folders or tar archives with pictures and masks; or give --images and --masks. The exit code is
    1 if some pairs cannot be used.

    Example: u2net check-data DUTS-TR --validation ECSSD --sheet sheet.png
    """
    if (images is None) != (masks is None):
        raise Refusal("--images and --masks go together")
    if not data and masks is None:
        raise Refusal("give DATA, or --images and --masks")
    named, suffix = _parse_classes(classes), mask_suffix or ""
    check_free(sheet_path, json_path, overwrite=overwrite)
    with one_line_errors():
        from tqdm import tqdm

        from u2net.evaluation.check import examine, save_sheet
        from u2net.evaluation.dataset import open_pairs
        from u2net.evaluation.report import save_text
        from u2net.images.save import SUFFIXES

        if sheet_path and sheet_path.suffix.lower() not in SUFFIXES:
            raise Refusal(f"--sheet ends in .png, .webp or .jpg, not {sheet_path.suffix or 'nothing'}")
        quiet = sys.stderr is None or not sys.stderr.isatty()
        training = [_open(path, suffix) for path in data]
        if masks is not None:
            training.append(_with_pairs(open_pairs(images, masks, strict=False, mask_suffix=suffix)))
        report = examine(
            training,
            [_open(path, suffix) for path in validation],
            classes=named,
            ignore_index=ignore_index,
            progress=lambda examples: tqdm(examples, unit="pair", leave=False, disable=quiet),
            threads=threads,
        )
        _print(report, list_all=list_all)
        if json_path:
            save_text(report.to_json(), json_path)
        if sheet_path:
            save_sheet(report, sheet_path)
    if report.count("error"):
        sys.exit(1)


def _parse_classes(text: str) -> int | list[str]:
    if text.strip().isdecimal():
        num = int(text)
        if not 2 <= num <= 256:
            raise Refusal(f"--classes is from 2 to 256, not {num}")
        return num
    names = [name.strip() for name in text.split(",")]
    if not 2 <= len(names) <= 256 or len(set(names)) < len(names) or not all(names):
        raise Refusal("--classes is a number, or two different names or more, background first")
    return names


def _open(path: Path, mask_suffix: str) -> Dataset:
    from u2net.evaluation.dataset import open_dataset

    try:
        dataset = open_dataset(path, strict=False, mask_suffix=mask_suffix)
    except InvalidDataset as error:
        raise InvalidDataset(f"{error}; expected {_EXPECTED}") from None
    return _with_pairs(dataset)


def _with_pairs(dataset: Dataset) -> Dataset:
    """The data set itself. Raises InvalidDataset, with one example, if no picture in it has a mask."""
    from u2net.evaluation.check.examination import check_names
    from u2net.evaluation.layout import advise

    if not any(example.is_pair for example in dataset):
        _, kind, detail = next(check_names(dataset))
        sources = [source for example in dataset for source in (example.image, example.mask) if source]
        raise InvalidDataset(
            f"{dataset.name}: no picture has the name of a mask; found {dataset.layout}; "
            f"{kind}: {detail}; {advise(sources)}; expected {_EXPECTED}"
        )
    return dataset


def _print(report: Report, *, list_all: bool) -> None:
    for examined in report.examined:
        say(
            f"{examined.dataset.name} ({examined.role}): "
            f"{examined.num_usable:,} of {examined.num_pairs:,} pairs can be used"
        )
        say(f"  {examined.dataset.layout}")
    if report.class_shares:
        shares = ", ".join(f"{name} {share:.2%}" for name, share in report.class_shares.items())
        say(f"classes: {shares}")
    for kind, findings in report.by_kind().items():
        _print_kind(kind, findings, list_all=list_all, many_sets=len(report.examined) > 1)
    say("")
    say(report.summary())


def _print_kind(kind: Kind, findings: list[Finding], *, list_all: bool, many_sets: bool) -> None:
    shown = findings if list_all else findings[:_NUM_LISTED]
    names = [printable(_name(finding, many_sets=many_sets)) for finding in shown]
    width = min(max(map(len, names)), 40)
    say("")
    say(f"{kind.severity.upper()} {kind.name} ({len(findings):,}): {kind.meaning}")
    say(f"  u2net train {kind.consequence}")
    for name, finding in zip(names, shown, strict=True):
        say(f"    {name:<{width}}  {finding.detail}")
    if len(findings) > len(shown):
        say(f"    and {len(findings) - len(shown):,} more")


def _name(finding: Finding, *, many_sets: bool) -> str:
    if not finding.name:
        return finding.dataset
    return f"{finding.dataset}/{finding.name}" if many_sets else finding.name
