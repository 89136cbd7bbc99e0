"""`u2net remove` of many pictures: a folder by this machine's processes, or whatever a Ray cluster can read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from u2net.cli.failure import Refusal, quiet_decoders, say
from u2net.cli.options import exists_already
from u2net.cli.results import Results, is_terminal
from u2net.config import check_fields, option
from u2net.errors import ConfigMismatch
from u2net.images import FILMS

if TYPE_CHECKING:
    from u2net.cli.film import FilmOptions
    from u2net.cutout.batch.plan import Plan, Task
    from u2net.cutout.batch.tasks import Engine
    from u2net.cutout.config import CutoutConfig
    from u2net.images.limits import Limits
    from u2net.system.process import Signals


@dataclass(frozen=True)
class FolderOptions:
    """How `u2net remove` works through pictures; the command's flags are made from the fields."""

    overwrite: bool = False
    """Replace files that exist already."""
    engine: Literal["pool", "ray"] = "pool"
    """What works on a folder: processes on this machine (pool), or the Ray cluster at RAY_ADDRESS (ray)."""
    workers: int | None = option(None, 1, 1024)
    """Number of processes for a folder.  [default: as many as processors and memory allow]"""
    watch: bool = option(False, short="w")
    """Keep running, and cut out every picture that is put into the folder. Ctrl-C ends it."""
    report: Path | None = None
    """Write a page of a folder's results, with the pictures that you should check first."""
    strict: bool = False
    """Exit with 1 if any picture of a folder failed."""
    as_json: bool = False
    """Print what came of every picture as JSON."""
    max_pixels: int | None = option(None, 1, 10**15)
    """Refuse pictures of more pixels.  [default: what fits the memory; or U2NET_MAX_PIXELS]"""
    max_side: int | None = option(None, 1, 10**9)
    """Refuse pictures with a longer side.  [default: any; or U2NET_MAX_SIDE]"""
    max_bytes: int | None = option(None, 1, 10**15)
    """Refuse larger files.  [default: 8 bytes for each of the pixels above; or U2NET_MAX_BYTES]"""

    def __post_init__(self) -> None:
        check_fields(self)

    def limits(self, processes: int = 1) -> Limits:
        """Of the pictures, where so many processes share the memory. Raises InvalidSetting."""
        from u2net.images.limits import own_limits

        return own_limits(
            processes=processes, max_pixels=self.max_pixels, max_side=self.max_side, max_bytes=self.max_bytes
        )

    @classmethod
    def names(cls) -> list[str]:
        """The names of the fields."""
        return [known.name for known in fields(cls)]


def remove_folder(source: Path, target: Path, config: CutoutConfig, options: FolderOptions, film: FilmOptions) -> int:
    """Cut out the pictures and films below a folder; gives the exit code.

    Raises Refusal, and what the library raises.
    """
    from u2net.cli.film import plan_films
    from u2net.cutout.batch.journal import Journal
    from u2net.cutout.batch.plan import Outcome, plan
    from u2net.cutout.batch.report import Gallery, may_write
    from u2net.cutout.batch.tasks import do_tasks, look_up
    from u2net.cutout.batch.watch import Arrivals
    from u2net.errors import ConfigMismatch
    from u2net.system.files import first_link, sweep
    from u2net.system.process import Signals

    if options.report and not options.report.parent.is_dir():
        raise Refusal(f"there is no folder {options.report.parent} for the report")
    if options.report and not may_write(options.report):
        raise Refusal(f"{options.report} is no report that may be replaced: give another name")
    if options.watch and options.as_json:
        raise Refusal("--watch and --json exclude each other: the journal in OUTPUT lists every picture")
    with ExitStack() as stack:
        stack.enter_context(quiet_decoders())
        asked = {**config.asked(), "model_sha256": model_digest(config.model)}
        signals = stack.enter_context(Signals())
        try:
            journal = stack.enter_context(Journal(target, source, asked, overwrite=options.overwrite))
        except ConfigMismatch as error:
            raise Refusal(f"{error}: give another OUTPUT, or --overwrite to do all pictures again") from None
        results = Results(options, Gallery(source, target, asked) if options.report else None)
        stack.callback(results.end)
        look = partial(plan, source, target, f".{config.format}")
        known = partial(look_up, journal=journal, overwrite=options.overwrite)
        planned, films = look(), plan_films(source, target)
        results.left_alone = planned.left_alone
        if not options.watch:
            results.left_alone -= Counter(task.source.suffix.lower() for task in films.tasks)
        for folder in {task.target.parent for task in (*planned.tasks, *films.tasks)}:
            if not first_link(folder, target):
                sweep(folder)

        def know(outcome: Outcome) -> None:
            if not outcome.is_settled and outcome.status == "failed":
                journal.finish(outcome)
            results.add(outcome, is_new=False)

        if options.watch:
            arrivals = Arrivals(look, known, know)
            results.begin(None)
            engine = _engine(stack, config, options)

            def add(outcome: Outcome) -> None:
                if arrivals.settle(outcome):
                    results.add(outcome)

            do_tasks(_until(signals, arrivals), journal, engine, add)
        else:
            failures = dict.fromkeys((*planned.failures, *films.failures))  # both find the folders that cannot be read
            items = [*failures, *map(known, (*planned.tasks, *films.tasks))]
            tasks = [item for item in items if not isinstance(item, Outcome)]
            results.begin(len(tasks))
            for item in items:
                if isinstance(item, Outcome):
                    know(item)
            for engine, some in _engines(tasks, films, config, options, film, signals):
                do_tasks(some, journal, engine, results.add)
        if signals.received and not options.watch:
            say("u2net: interrupted; give the same command again to continue", err=True)
            return 128 + signals.received
        journal.end()
    return 1 if options.strict and results.has_failed else 0


def remove_several(
    sources: list[Path], output: Path | None, config: CutoutConfig, options: FolderOptions, film: FilmOptions
) -> int:
    """Cut out pictures and films that were named, into a folder or each beside itself; gives the exit code."""
    from u2net.cutout.batch.plan import Outcome, plan_files
    from u2net.system.process import Signals

    named: dict[bool, list[Path]] = {False: [], True: []}
    for source in sources:
        named[source.suffix.lower() in FILMS].append(source)
    planned, films = plan_files(named[False], output, f".{config.format}"), plan_files(named[True], output, ".webm")
    items: list[Task | Outcome] = [
        Outcome(task.source, task.target, "skipped", exists_already(task.target))
        if os.path.lexists(task.target) and not options.overwrite
        else task
        for task in (*planned.tasks, *films.tasks)
    ]
    tasks = [item for item in items if not isinstance(item, Outcome)]
    with ExitStack() as stack:
        stack.enter_context(quiet_decoders())
        signals = stack.enter_context(Signals())
        results = Results(options, None)
        stack.callback(results.end)
        results.begin(len(tasks))
        for item in (*planned.failures, *films.failures, *items):
            if isinstance(item, Outcome):
                results.add(item, is_new=False, names_skipped=True)
        for engine, some in _engines(tasks, films, config, options, film, signals):
            for outcome in engine(some):
                results.add(outcome)
        if signals.received:
            say("u2net: interrupted; what was begun is done", err=True)
            return 128 + signals.received
    return 1 if results.counts["failed"] else 0


def model_digest(model: str) -> str:
    """The SHA-256 of a model's file, which is downloaded if need be."""
    from u2net.models.zoo import resolve
    from u2net.system.files import sha256_of

    return sha256_of(resolve(model, progress=is_terminal()))


def _engines(
    tasks: list[Task], films: Plan, config: CutoutConfig, options: FolderOptions, film: FilmOptions, signals: Signals
) -> Iterator[tuple[Engine, Iterator[Task | None]]]:
    """What works on pictures, with these, and then what works on films, with those."""
    from u2net.cli.film import film_engine

    pictures = [task for task in tasks if task.source not in films.sources]
    if pictures:
        with ExitStack() as stack:
            yield _engine(stack, config, options, len(pictures)), _until(signals, pictures)
    if len(tasks) > len(pictures):
        rest = (task for task in tasks if task.source in films.sources)
        yield film_engine(config, options, film, signals), _until(signals, rest)


def _engine(stack: ExitStack, config: CutoutConfig, options: FolderOptions, num_tasks: int | None = None) -> Engine:
    """Processes that share the processors, until the stack's end."""
    from u2net.cutout.batch.pool import Pool, num_workers
    from u2net.cutout.cutter import Cutter
    from u2net.system.process import num_processors

    num = options.workers or num_workers(num_tasks)
    threads = config.threads or (None if "OMP_NUM_THREADS" in os.environ else max(1, num_processors() // num))
    return stack.enter_context(Pool(Cutter(replace(config, threads=threads), options.limits(num)), num)).run


def _until(signals: Signals, tasks: Iterable[Task | None]) -> Iterator[Task | None]:
    """Tasks until a signal comes."""
    for task in tasks:
        if signals.received:
            return
        yield task


def remove_by_cluster(source: str, target: str | None, config: CutoutConfig, options: FolderOptions) -> int:
    """Cut out the pictures of a folder or of Parquet files; gives the exit code. Raises Refusal, and what Ray does."""
    from u2net.cutout.batch.ray_cluster import begin, cut_out_by_ray, end, open_storage
    from u2net.cutout.cutter import Cutter
    from u2net.system.process import num_processors

    if options.watch or options.report:
        raise Refusal("--watch and --report are for --engine pool")
    if "://" not in source and not source.endswith(".parquet") and not os.path.isdir(source):
        raise Refusal("--engine ray is for folders and Parquet files")
    if target is None and ("://" in source or source.endswith(".parquet")):
        raise Refusal("give OUTPUT, a folder or its URI")
    asked = {**config.asked(), "model_sha256": model_digest(config.model)}
    try:
        places = open_storage(source), open_storage(target or f"{source.rstrip(os.sep)}.out")
        if places[0] == places[1]:
            raise Refusal("OUTPUT must be another folder")
        begin(places[1], asked, overwrite=options.overwrite)
    except ConfigMismatch as error:
        raise Refusal(f"{error}: give another OUTPUT, or --overwrite to do all pictures again") from None
    except ValueError as error:
        raise Refusal(str(error)) from None
    cutter = Cutter(replace(config, threads=config.threads or 1), options.limits(options.workers or num_processors()))
    results = Results(options, None)
    results.begin(None)
    try:
        # Ray reports dead nodes on stdout, where --json prints.
        with quiet_decoders(), open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
            made = cut_out_by_ray(
                *places,
                cutter,
                overwrite=options.overwrite,
                workers=options.workers,
                note=results.left_alone.update,
            )
            for outcome in made:
                results.add(outcome)
        end(places[1], asked)
    except KeyboardInterrupt:
        say("u2net: interrupted; give the same command again to continue", err=True)
        return 130
    finally:
        results.end()
    return 1 if options.strict and results.has_failed else 0
