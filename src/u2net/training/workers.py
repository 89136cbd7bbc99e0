"""Processes that prepare batches: how they start, what signals they heed, and what is said when one dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from u2net.errors import NotEnoughRoom


def start(maker: Dataset[Any], keys: Iterator[Any], num_workers: int, *, pinned: bool) -> Iterator[Any]:
    """What `maker.__getitems__` makes of each of `keys`, in their order, in workers; with 0 workers, in this process.

    If a worker dies, the last thing is NotEnoughRoom: it is given, not raised, since its traceback would keep the other
    workers. They end when this iterator is let go of.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores: as was asked
        loader = DataLoader(
            maker,
            batch_sampler=keys,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            pin_memory=pinned,
            worker_init_fn=_leave_signals_to_the_main_process,
            generator=torch.Generator(),  # else it draws from the global one, whose state is the run's
        )
        return _with_deaths_told(_started(loader))


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute in this thread alone: the last digits of a resize depend on how rows are shared out."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """The loader's batches; that a worker died is told when the next is due, not in the midst of a step."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    handler = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
    batches = iter(loader)
    signal.signal(signal.SIGCHLD, handler)  # in place of torch's, which raises anywhere
    return batches


def _with_deaths_told(batches: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from batches
        return
    except RuntimeError as error:
        told = " ".join(str(error).split())
        if not told.startswith("DataLoader worker"):
            raise
    yield NotEnoughRoom(f"a worker was killed, most often for want of memory or of room in /dev/shm: {told}")


def _leave_signals_to_the_main_process(_worker: int) -> None:
    """Leave the group of processes that Ctrl-C and schedulers signal: the main one may finish its step, with this one.

    SIGTERM itself is not ignored, since the main process ends its workers by it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def _as_it_is(batch: Any) -> Any:
    return batch
