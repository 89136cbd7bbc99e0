"""`u2net remove` of a folder: who works on it, and how what becomes of it is told."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from u2net.cli.failure import Refusal, printable, quiet_decoders

if TYPE_CHECKING:
    from u2net.cutout.batch.folder import Engine
    from u2net.cutout.batch.plan import Outcome, Task
    from u2net.cutout.batch.report import Gallery
    from u2net.cutout.cutter import CutoutConfig
    from u2net.system import Signals


@dataclass(frozen=True)
class FolderOptions:
    """What `u2net remove` is told besides what is made of a picture."""

    overwrite: bool
    workers: int | None
    watch: bool
    strict: bool
    report: Path | None
    as_json: bool


def remove_folder(source: Path, target: Path, config: CutoutConfig, options: FolderOptions) -> int:
    """Cut out the pictures below a folder; gives the exit code. Raises Refusal, and what the library does."""
    from u2net.cutout.batch.folder import cut_out, look_up, sweep
    from u2net.cutout.batch.journal import Journal
    from u2net.cutout.batch.plan import Outcome, plan
    from u2net.cutout.batch.report import Gallery
    from u2net.cutout.batch.watch import Arrivals
    from u2net.errors import ConfigMismatch
    from u2net.system import Signals

    if options.report and not options.report.parent.is_dir():
        raise Refusal(f"there is no folder {options.report.parent} for the report")
    if options.watch and options.as_json:
        raise Refusal("--watch has no end to report at: the journal in OUTPUT tells what --json would")
    with ExitStack() as stack:
        stack.enter_context(quiet_decoders())
        asked = {**config.asked(), "model_sha256": model_digest(config.model)}
        signals = stack.enter_context(Signals())
        try:
            journal = stack.enter_context(Journal(target, source, asked, overwrite=options.overwrite))
        except ConfigMismatch as error:
            raise Refusal(f"{error}: give another OUTPUT, or --overwrite to make all anew") from None
        told = Told(options, Gallery(source, target, asked) if options.report else None)
        stack.callback(told.end)
        look = partial(plan, source, target, f".{config.format}")
        known = partial(look_up, journal=journal, overwrite=options.overwrite)
        jobs, failures = look()
        sweep({job.target.parent for job in jobs})

        def know(outcome: Outcome) -> None:
            if not outcome.is_settled and outcome.status == "failed":
                journal.finish(outcome)
            told.tell(outcome, is_new=False)

        if options.watch:
            arrivals = Arrivals(look, known, know)
            told.begin(None)
            engine = _engine(stack, config, options.workers)

            def tell(outcome: Outcome) -> None:
                if arrivals.settle(outcome):
                    told.tell(outcome)

            cut_out(_until(signals, arrivals), journal, engine, tell)
        else:
            items = [*failures, *map(known, jobs)]
            tasks = [item for item in items if not isinstance(item, Outcome)]
            told.begin(len(tasks))
            for item in items:
                if isinstance(item, Outcome):
                    know(item)
            if tasks:
                engine = _engine(stack, config, options.workers, len(tasks))
                cut_out(_until(signals, tasks), journal, engine, told.tell)
        if signals.received and not options.watch:
            click.echo("u2net: interrupted; the same command goes on from here", err=True)
            return 128 + signals.received
        journal.end()
    return 1 if options.strict and told.counts["failed"] else 0


def model_digest(model: str) -> str:
    """Of a model's file, which is downloaded if need be."""
    from u2net.models.zoo import resolve

    with resolve(model, progress=is_terminal()).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _engine(stack: ExitStack, config: CutoutConfig, workers: int | None, num_tasks: int | None = None) -> Engine:
    """Processes that share the processors, until the stack's end."""
    from u2net.cutout.batch.pool import Pool, num_workers
    from u2net.cutout.cutter import Cutter
    from u2net.system import num_processors

    num = workers or num_workers(num_tasks)
    threads = config.threads or (None if "OMP_NUM_THREADS" in os.environ else max(1, num_processors() // num))
    return stack.enter_context(Pool(Cutter(replace(config, threads=threads)), num)).run


def _until(signals: Signals, tasks: Iterable[Task | None]) -> Iterator[Task | None]:
    """Tasks until a signal comes."""
    for task in tasks:
        if signals.received:
            return
        yield task


class Told:
    """What is told of pictures: failures and progress at once, all of it at the end, or where a run is cut off."""

    def __init__(self, options: FolderOptions, gallery: Gallery | None) -> None:
        self.counts: Counter[str] = Counter()
        self._options = options
        self._gallery = gallery
        self._rows: list[dict[str, Any]] = []
        self._bar: Any = None

    def begin(self, num_tasks: int | None) -> None:
        """Show progress towards so many pictures, if anybody looks."""
        from tqdm import tqdm

        self._bar = tqdm(total=num_tasks, unit=" pictures", smoothing=0.1, disable=not is_terminal())

    def tell(self, outcome: Outcome, *, is_new: bool = True) -> None:
        """Tell of one picture; what was known before is no progress."""
        self.counts[outcome.status] += 1
        if outcome.status == "failed":
            self._bar.write(f"u2net: {printable(outcome.source)}: {printable(outcome.reason)}", file=sys.stderr)
        if is_new:
            self._bar.update()
        if self._options.as_json:
            self._rows.append(as_row(outcome))
        if self._gallery is not None:
            self._gallery.add(outcome)

    def end(self) -> None:
        """Tell of all, on stdout and in the report."""
        if self._bar is not None:
            self._bar.close()
        if self._options.as_json:
            click.echo(json.dumps({"pictures": self._rows}, indent=2))
        else:
            click.echo(", ".join(f"{self.counts[status]} {status}" for status in ("done", "skipped", "failed")))
        if self._gallery is not None and self._options.report is not None:
            self._gallery.write(self._options.report)


def as_row(outcome: Outcome) -> dict[str, Any]:
    """What `--json` tells of a picture."""
    return {
        "source": str(outcome.source),
        "target": None if outcome.target is None else str(outcome.target),
        "status": outcome.status,
        "reason": outcome.reason,
        "confidence": None if outcome.confidence is None else round(outcome.confidence, 4),
    }


def is_terminal() -> bool:
    """Whether somebody may be looking at stderr."""
    return sys.stderr is not None and sys.stderr.isatty()
