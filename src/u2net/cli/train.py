"""`u2net train`: its options are the fields of `TrainConfig`."""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import click

from u2net.cli.failure import Refusal, one_line_errors, say
from u2net.cli.options import config_options, given_options
from u2net.config import field_types
from u2net.errors import BadPictures, ConfigMismatch, TrainingInterrupted, U2NetError, printable
from u2net.training.config import PRESETS, TrainConfig

_LINE_EVERY_S = 30.0  # between lines of progress where there is no terminal
_PATH = {"type": click.Path(exists=True), "metavar": "PATH"}
_LIST = {"multiple": False, "metavar": "A,B,…"}
_SETTINGS: dict[str, dict[str, Any]] = {
    "images": _PATH,
    "masks": _PATH,
    "validation": _PATH,
    **dict.fromkeys(("weights", "classes", "teachers", "looks", "side_weights", "class_weights"), _LIST),
}


@click.command()
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@click.argument("data", nargs=-1, type=click.Path(exists=True))
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Recipe to start from.  [default: modern]")
@click.option(
    "--config",
    "config_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Start from this configuration instead, e.g. another run's config.json.",
)
@click.option("--find-batch", is_flag=True, help="Use the largest batch that fits into memory.")
@config_options(TrainConfig, skip={"data"}, settings=_SETTINGS, is_changed=True)
def train(
    run: Path, data: tuple[str, ...], preset: str | None, config_path: Path | None, find_batch: bool, **given: Any
) -> None:
    """Train on DATA, folders or tar archives with pictures and masks, in the folder RUN.

    If training was interrupted, the same command continues it, and so does `u2net train RUN` alone. Ctrl-C and SIGTERM
    finish the step and write a checkpoint; the exit code is 130 or 143. Needs the extra train.
    """
    if run == Path():
        raise Refusal("RUN is an empty name, or the current folder: give the run a folder of its own")
    with one_line_errors():
        config = _configured(run, data, preset, config_path, given)
        from tqdm import tqdm

        from u2net.training import train as train_

        handler = logging.StreamHandler()
        handler.setFormatter(_Line())
        logging.basicConfig(handlers=[handler])
        leads = os.environ.get("RANK", "0") == "0"  # of several processes only one writes messages
        try:
            if find_batch:
                config = replace(config, batch_size=_largest_batch(run, config))
                say(f"batch size {config.batch_size}", err=True)
            with _Progress() as progress:
                quiet = None if leads else True  # None: quiet unless there is a terminal
                opening = partial(tqdm, desc="looking at the data", unit="pair", leave=False, disable=quiet)
                result = train_(config, run, watch=progress, progress=opening)
        except ConfigMismatch as error:
            told = f"{run} was started with another configuration; keep that, or name another folder"
            say(f"u2net: {told}:", err=True)
            for line in error.differences:
                say(f"  {line}", err=True)
            sys.exit(2)
        except BadPictures as error:
            for bad, reason in error.failures:
                say(f"u2net: {bad}: {reason}", err=True)
            say(f"u2net: {len(error.failures)} pairs cannot be used; --on-bad skip leaves them out", err=True)
            sys.exit(1)
        except TrainingInterrupted as error:
            say(f"u2net: {error}", err=True)
            sys.exit(128 + error.signum)
        except U2NetError:
            raise
        except ValueError as error:
            raise Refusal(str(error)) from None
    if not leads:
        return
    shown = {name: value for name, value in result.scores.items() if name.split()[-1] in _TOLD}
    told = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
    say(f"trained {result.num_steps:,} steps{f': {told}' if told else ''}; wrote {result.model}")


def _configured(
    run: Path, data: tuple[str, ...], preset: str | None, config_path: Path | None, given: dict[str, Any]
) -> TrainConfig:
    """The configuration of the command line: a recipe or the run's own, changed by the options that are given."""
    begun = run / "config.json"
    if preset and config_path:
        raise Refusal("give --preset or --config, not both")
    if preset is None and config_path is None and begun.exists():
        config_path = begun
    try:
        config = _read(config_path) if config_path else PRESETS[preset or "modern"]
        changes = {name: _value(name, value) for name, value in given_options(given).items()}
        if data:
            changes["data"] = data
        return replace(config, **changes)
    except ValueError as error:
        raise Refusal(str(error)) from None


def _largest_batch(run: Path, config: TrainConfig) -> int:
    """The batch size that fits into memory; a run that is continued keeps its own."""
    if (run / "config.json").exists():
        return _read(run / "config.json").batch_size
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise Refusal("--find-batch is for one process; give --batch-size to several")
    from u2net.training.batch_size import find_batch_size

    return find_batch_size(config)


def _read(path: Path) -> TrainConfig:
    return TrainConfig.from_json(path.read_text(encoding="utf-8"))


def _value(name: str, value: Any) -> Any:
    """The value of a field, from its option's. Raises ValueError for a list with items that are no numbers."""
    kind = field_types(TrainConfig)[name]
    if get_origin(kind) is not tuple or not isinstance(value, str):
        return value
    items = tuple(item.strip() for item in value.split(","))
    if get_args(kind)[0] is not float:
        return items
    try:
        return tuple(map(float, items))
    except ValueError:
        raise ValueError(f"{name} are numbers with commas between them, got {value!r}") from None


class _Line(logging.Formatter):
    """A warning as one line, as all others are printed."""

    def format(self, record: logging.LogRecord) -> str:
        return f"u2net: {printable(record.getMessage())}"


class _Progress:
    """A bar on a terminal, else a line from time to time; validations are always shown."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._told = -_LINE_EVERY_S

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, num_steps: int, row: dict[str, Any]) -> None:
        """Show a row of metrics.jsonl."""
        from tqdm import tqdm

        if self._bar is None:
            initial = max(0, row["step"] - 1)
            self._bar = tqdm(total=num_steps, initial=initial, unit="step", disable=not sys.stderr.isatty())
        for name, scores in row.get("validation", {}).items():
            told = ", ".join(f"{score} {value:.3f}" for score, value in scores.items() if score in _TOLD)
            self._bar.write(f"step {row['step']:,}  {printable(name)}: {told}", file=sys.stderr)
        if "loss" not in row:
            return
        figures = f"fused {row['fused']:.4f}  loss {row['loss']:.3f}  {row['images_per_s']:.1f} images/s"
        if not self._bar.disable:
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update()
        elif time.monotonic() - self._told > _LINE_EVERY_S:
            self._told = time.monotonic()
            say(f"step {row['step']:,} of {num_steps:,}  {figures}", err=True)


_TOLD = ("maxF", "MAE", "Fw", "Sm", "mIoU")
