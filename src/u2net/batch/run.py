"""Jobs done in turn by threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from u2net.batch.plan import Job, Outcome
from u2net.errors import InvalidImage, NoSubject, reason


def run(
    jobs: Iterable[Job],
    make: Callable[[Path, Path], float | None],
    *,
    overwrite: bool,
    workers: int = 1,
    empty: Literal["skipped", "failed"] = "failed",
) -> Iterator[Outcome]:
    """Call `make(source, target)` for each job in turn; a picture that fails does not stop the others.

    It gives the confidence that there is a subject, or None. What it raises NoSubject for counts as `empty` says.

    With two `workers`, threads, one picture is decoded or encoded while another is in the network; outcomes keep the
    order of the jobs. When nobody asks for more, or the program is to end, what is begun is finished, and nothing else
    is begun. One worker is the caller's own thread. A target that is there already is skipped unless `overwrite`.
    """
    if workers == 1:
        yield from (_do(job, make, overwrite, empty) for job in jobs)
        return
    begun: deque[Future[Outcome]] = deque()

    def first() -> Outcome:
        outcome = begun[0].result()
        begun.popleft()
        return outcome

    with ThreadPoolExecutor(workers) as pool:
        try:
            for job in jobs:
                if len(begun) == workers:
                    yield first()
                begun.append(pool.submit(_do, job, make, overwrite, empty))
            while begun:
                yield first()
        except (KeyboardInterrupt, SystemExit):
            # Their files appear all the same: they are told before the program ends.
            while begun:
                yield first()
            raise


def _do(
    job: Job, make: Callable[[Path, Path], float | None], overwrite: bool, empty: Literal["skipped", "failed"]
) -> Outcome:
    try:
        if not overwrite and os.path.lexists(job.target):
            return Outcome(job.source, job.target, "skipped", f"{job.target} is there already")
        job.target.parent.mkdir(parents=True, exist_ok=True)
        confidence = make(job.source, job.target)
    except NoSubject as error:
        return Outcome(job.source, job.target, empty, reason(error), error.confidence)
    except (InvalidImage, OSError, MemoryError) as error:
        return Outcome(job.source, job.target, "failed", _reason(error, job.source))
    return Outcome(job.source, job.target, "done", confidence=confidence)


def _reason(error: Exception, source: Path) -> str:
    """What went wrong, and where, unless that is the picture itself."""
    where = getattr(error, "filename", None)
    return reason(error) + ("" if where in (None, str(source)) else f": {where}")
