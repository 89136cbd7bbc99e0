"""`u2net remove` of a film: which file it becomes, its progress, and what came of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from u2net.cli.failure import Refusal, quiet_decoders, say, say_json
from u2net.cli.folder import FolderOptions
from u2net.cli.options import check_free
from u2net.cli.results import as_row, is_terminal
from u2net.config import check_fields, option
from u2net.images import ANIMATED, FILMS

if TYPE_CHECKING:
    from u2net.cutout.batch.plan import Outcome, Plan, Task
    from u2net.cutout.batch.tasks import Engine
    from u2net.cutout.config import CutoutConfig
    from u2net.cutout.cutter import Cutter
    from u2net.system.process import Signals
    from u2net.video.film import Facts


@dataclass(frozen=True)
class FilmOptions:
    """What is asked of a film; the command's flags are made from the fields."""

    start: float = option(0.0, 0, 10**6)
    """Of a film, take the frames from this second on."""
    end: float | None = option(None, 0, 10**6)
    """Of a film, take the frames before this second."""
    steady: float = option(1.0, 0, 1)
    """How much a film's outlines are steadied from frame to frame: 0 not at all, 1 the most."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end is later than start, got {self.end:g}")

    @classmethod
    def names(cls) -> list[str]:
        """The names of the fields."""
        return [known.name for known in fields(cls)]


def is_film(name: str, output: str | None, format_: str | None) -> bool:
    """Whether INPUT is a film, or an animated picture that is to stay one; says so where only a frame is taken.

    A file with an unknown suffix is one if OUTPUT has a film's, and it is no picture.
    """
    suffix = Path(name).suffix.lower()
    if suffix in FILMS:
        return Path(name).is_file()
    if suffix not in ANIMATED and Path(output or "").suffix.lower() in FILMS:
        from u2net.cutout.batch.plan import holds_picture
        from u2net.images.formats import SUFFIXES

        return suffix not in SUFFIXES and Path(name).is_file() and not holds_picture(Path(name))
    if suffix not in ANIMATED or not Path(name).is_file():
        return False
    from u2net.video.film import num_frames
    from u2net.video.writer import ANIMATIONS, KINDS

    num = num_frames(name)
    if num == 1:
        return False
    wanted = Path(output).suffix.lower() if output not in (None, "-") else f".{format_}" if format_ else suffix
    if output != "-" and (wanted in KINDS or (format_ is None and wanted == "")):
        return format_ is None or f".{format_}" in ANIMATIONS
    say(f"u2net: {name}: the first of {num} frames is cut out: the result cannot hold more", err=True)
    return False


def film_target(source: Path, output: str | None, *, overwrite: bool) -> Path:
    """The file or new folder that a film becomes. Raises Refusal where it makes no sense, or a file would be lost."""
    from u2net.video.writer import ANIMATIONS, KINDS

    suffix = source.suffix.lower().replace(".apng", ".png")
    default = suffix if suffix in ANIMATIONS else ".webm"
    if output == "-":
        raise Refusal("a film cannot go to stdout: give OUTPUT as a file")
    target = source.with_name(f"{source.stem}.out{default}") if output is None else Path(output)
    if target.is_dir():
        target /= f"{source.stem}{default}"
    if target.suffix and target.suffix.lower() not in KINDS:
        raise Refusal(f"{target.name} does not end in {', '.join(KINDS)}; without a suffix it is a folder of frames")
    if target.exists() and target.samefile(source):
        raise Refusal(f"{target} would replace the film itself")
    check_free(target, overwrite=overwrite)
    return target


def remove_film(source: Path, target: Path, config: CutoutConfig, options: FolderOptions, film: FilmOptions) -> int:
    """Cut out one film; gives the exit code."""
    from tqdm import tqdm

    from u2net.cutout.batch.plan import Task

    bar = tqdm(unit=" frames", smoothing=0.1, disable=not is_terminal())

    def progress(num: int, facts: Facts) -> None:
        if film == FilmOptions(steady=film.steady):
            bar.total = facts.num_frames or (round(facts.duration * facts.rate) if facts.duration else None)
        bar.update(num - bar.n)

    try:
        with quiet_decoders(), bar:
            (outcome,) = _cut_out([Task(source, target)], config, options, film, progress)
    except KeyboardInterrupt:
        say(f"u2net: {source}: stopped; nothing was written", err=True)
        return 128 + signal.SIGINT
    if outcome.reason:
        say(f"u2net: {source}: {outcome.reason}", err=True)
    if options.as_json:
        say_json(json.dumps({"pictures": [as_row(outcome)]}, indent=2))
    elif outcome.status == "done":
        say(f"wrote {target}")
    return 1 if outcome.status == "failed" else 0


def plan_films(folder: Path, output: Path) -> Plan:
    """A task for each film below a folder; none without PyAV."""
    from u2net.cutout.batch.plan import Plan, plan

    return plan(folder, output, ".webm", kinds=FILMS) if find_spec("av") else Plan([], [])


def film_engine(config: CutoutConfig, options: FolderOptions, film: FilmOptions, signals: Signals) -> Engine:
    """Cuts films out one after the other, each with all processors; the one that a signal comes in is given up."""

    def progress(_num: int, _facts: Facts) -> None:
        if signals.received:
            raise KeyboardInterrupt

    def engine(tasks: Iterable[Task | None]) -> Iterator[Outcome]:
        with suppress(KeyboardInterrupt):
            yield from _cut_out(filter(None, tasks), config, options, film, progress)

    return engine


def _cut_out(
    tasks: Iterable[Task],
    config: CutoutConfig,
    options: FolderOptions,
    film: FilmOptions,
    progress: Callable[[int, Facts], None],
) -> Iterator[Outcome]:
    """What comes of films, one after the other, with what the journal wants to know; the model is opened once."""
    from u2net.cutout.cutter import Cutter
    from u2net.errors import U2NetError, reason

    with closing(Cutter(config, progress=is_terminal(), throughput=True)) as cutter:
        for task in tasks:
            try:
                yield _outcome(task, cutter, options, film, progress)
            except (U2NetError, OSError, ValueError, MemoryError) as error:
                yield task.fail(reason(error))


def _outcome(
    task: Task, cutter: Cutter, options: FolderOptions, film: FilmOptions, progress: Callable[[int, Facts], None]
) -> Outcome:
    """What comes of a film. Raises OSError for one that cannot be read."""
    from u2net.cutout.batch.tasks import what_stands, why
    from u2net.errors import U2NetError
    from u2net.system.files import new_folder, sha256_of
    from u2net.video.cut import cut_out_film

    status = task.source.stat()
    known = replace(task.fail(""), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256_of(task.source))
    if standing := what_stands(task, known):
        return standing
    try:
        new_folder(task.target.parent)
        broken = cut_out_film(
            task.source,
            task.target,
            cutter.config,
            session=cutter.open(),
            limits=options.limits(),
            progress=progress,
            **asdict(film),
        )
    except (U2NetError, OSError, ValueError, MemoryError) as error:
        return replace(known, reason=why(error, task.source))
    made = sha256_of(task.target) if task.target.is_file() else ""
    return replace(known, status="done", reason="; ".join(broken), target_sha256=made)
