"""Processes of this machine that cut out pictures; one that dies costs no picture but its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Self

from u2net.cutout.batch.plan import Outcome, Task
from u2net.cutout.batch.tasks import make
from u2net.cutout.cutter import Cutter
from u2net.errors import WorkersDied
from u2net.system.process import available_memory, bound_heaps, num_processors

_TICK_S = 0.2  # between two questions whether there is more to do
_MEMORY = 2**30  # bytes of a process: runtime and network take a third of it, a picture of 50 megapixels the rest


def num_workers(num_tasks: int | None = None) -> int:
    """How many processes are fastest: one a processor, but no more than memory allows and than there are tasks."""
    most = num_processors()
    memory = available_memory()
    if memory is not None:
        most = min(most, memory // _MEMORY)
    return max(1, most if num_tasks is None else min(most, num_tasks))


class Pool:
    """Processes with a copy of a Cutter each; a context manager that ends them.

    They ignore SIGINT and SIGTERM: a picture that is begun is finished, unless an exception leaves the block.
    """

    def __init__(self, cutter: Cutter, num: int) -> None:
        self._cutter = cutter
        self._workers = [_Worker(cutter) for _ in range(num)]
        self._suspects: deque[Task] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for worker in self._workers:
            worker.end(at_once=error is not None)
        self._workers = []

    def run(self, tasks: Iterable[Task | None]) -> Iterator[Outcome]:
        """The outcome of each task, as they are finished. The next task is taken when a process is free.

        A task None means that there is nothing to do for the moment; the next is taken soon. A task whose process dies
        is tried once more while no other process works, so that its memory is its own, and then fails. Raises what
        `Cutter.open` does, WorkersDied if no process was ever ready, and what a mistake in the program raises.
        """
        pending = iter(tasks)
        has_more = True
        while has_more or self._suspects or any(worker.task for worker in self._workers):
            has_more = self._hand_out(pending) if has_more or self._suspects else False
            yield from self._collect()

    def _hand_out(self, pending: Iterator[Task | None]) -> bool:
        """Give tasks to free processes. Returns whether there may be more."""
        for worker in self._workers:
            if not worker.is_free:
                continue
            if self._suspects:
                if not any(other.task for other in self._workers):
                    worker.begin(self._suspects.popleft(), is_suspect=True)
                break
            try:
                task = next(pending)
            except StopIteration:
                return False
            if task is None:
                break
            worker.begin(task)
        return True

    def _collect(self) -> Iterator[Outcome]:
        """What was finished within a moment."""
        expected: dict[Any, _Worker] = {worker.pipe: worker for worker in self._workers if not worker.is_free}
        if not expected:
            time.sleep(_TICK_S)
        for pipe in wait(list(expected), _TICK_S) if expected else []:
            worker = expected[pipe]
            try:
                answer = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._replace(worker)
                continue
            if isinstance(answer, BaseException):
                raise answer
            if worker.task:
                yield answer
            worker.task, worker.is_free = None, True

    def _replace(self, dead: _Worker) -> Iterator[Outcome]:
        self._workers.remove(dead)
        task, how = dead.task, dead.end(at_once=False)
        if task is None:
            if not self._workers:
                raise WorkersDied(f"the processes ended by themselves before they were ready ({how})")
            return
        self._workers.append(_Worker(self._cutter))
        if dead.is_suspected:
            yield task.fail(f"the process that worked on it died twice ({how})")
        else:
            self._suspects.append(task)


class _Worker:
    """A process at the other end of a pipe. It is free from when it says that it is ready, and between tasks."""

    def __init__(self, cutter: Cutter) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks in any state
        self.pipe, theirs = context.Pipe()
        self.is_free = False
        self.is_suspected = False
        self.task: Task | None = None
        self._process = context.Process(target=_work, args=(cutter, theirs), name="u2net-remove", daemon=True)
        with _without_signals():
            self._process.start()
        theirs.close()  # then its only owner is the process, whose death ends what we read

    def begin(self, task: Task, *, is_suspect: bool = False) -> None:
        self.task, self.is_suspected, self.is_free = task, is_suspect, False
        try:
            self.pipe.send(task)
        except OSError:  # it died while it was free, which the next read shows
            return

    def end(self, *, at_once: bool) -> str:
        """End the process: `at_once`, or after its task. Returns how it ended."""
        self.pipe.close()
        if at_once:
            self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        self._process.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@contextmanager
def _without_signals() -> Iterator[None]:
    """Processes started in this block never get SIGINT and SIGTERM: a terminal sends Ctrl-C to all of its processes."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would let signals through again
    former = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _work(cutter: Cutter, pipe: Connection) -> None:
    """The process: send None when the session is open, then the outcome of each task, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows cannot block it
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]  # as in u2net.__main__: a third of the start
    bound_heaps()
    try:
        cutter.open()
        pipe.send(None)
        while True:
            pipe.send(make(cutter, pipe.recv()))
    except (EOFError, ConnectionError):
        os._exit(0)  # the parent is gone: nobody needs an orderly end
    except Exception as error:
        error.add_note(f"in a process of the pool:\n{traceback.format_exc()}")
        pipe.send(error)


class Attempts:
    """Counts for each picture how many processes began it and never came to another: they died, or work on it still.

    It holds one name for each process. Used where processes are not ours to watch, as in a cluster.
    """

    def __init__(self) -> None:
        self._at: dict[str, str] = {}
        self._times: Counter[str] = Counter()

    def begin(self, process: str, name: str) -> int:
        """Note that a process begins a picture, and so survived its last. Returns the count of this picture."""
        last = self._at.get(process)
        if last is not None:
            del self._times[last]
        self._at[process] = name
        self._times[name] += 1
        return self._times[name]
