"""Devices, and processes that train together: what they share and measure, and numbers on their way from a GPU."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from u2net.errors import U2NetError, reason
from u2net.evaluation.dataset import Dataset, Example
from u2net.evaluation.evaluate import Evaluation, Predict, measure
from u2net.system.process import Signals

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)  # how long processes wait for each other: one may be reading a large data set


@dataclass(frozen=True)
class World:
    """The processes that train one network together, and the rank of this one."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def highest(self, value: int) -> int:
        """The highest of the processes' small whole numbers; all get the same answer."""
        return value if self.size == 1 else max(self.everyone(value))

    def everyone(self, thing: T) -> list[T]:
        """The things of all processes, by rank; all get the same answer."""
        if self.size == 1:
            return [thing]
        things: list[T] = [thing] * self.size
        distributed.all_gather_object(things, thing)
        return things

    def mean_(self, tensors: list[Tensor]) -> None:
        """Set each tensor to its mean over the processes."""
        for tensor in tensors if self.size > 1 else ():
            distributed.all_reduce(tensor)
            tensor.div_(self.size)

    def share_norms(self, network: nn.Module) -> None:
        """Give the batch normalisation of all processes the mean of their running statistics."""
        self.mean_([buffer for buffer in network.buffers() if buffer.is_floating_point()])


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, if it did, and leave them at the end.

    Raises ValueError if the device does not exist, and U2NetError here when another process has ended.
    """
    rank, local = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = find_device(device, local)
    if size == 1:
        yield World(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    # gloo carries decisions made on the CPU, so that they need not wait for a GPU.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield World(rank, size, chosen)
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise U2NetError(f"process {rank} of {size} stops, since another one has: {reason(error)}") from error
    finally:
        distributed.destroy_process_group()


def with_shared_gradients(module: nn.Module, *, some_unused: bool) -> nn.Module:
    """The module with gradients averaged over all processes; each has its own batch normalisation."""
    with warnings.catch_warnings():
        # Its new name is not known to older versions of torch.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=some_unused)


def find_device(name: str, local_rank: int = 0) -> torch.device:
    """The device with this name; `auto` and `cuda` are each process's own GPU. Raises ValueError if there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device("cuda", local_rank) if name == "cuda" else torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts that it has it
        first = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used: {first}") from None
    return device


def find_layout(device: torch.device) -> torch.memory_format:
    """How a network and its maps lie in memory: the channels of a pixel next to each other, where that is faster.

    With AVX2 alone it is slower by far: oneDNN then takes five times as long for the gradients of weights.
    """
    slow = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    return torch.contiguous_format if slow else torch.channels_last


def evaluate_together(
    datasets: Sequence[Dataset], predict: Predict, name: str, ignore_index: int, world: World, signals: Signals
) -> list[Evaluation] | None:
    """Measure data sets, each process a part of each, by the `evaluate` that users run: the same for all processes.

    None if a signal came to any of them before they were done.
    """
    tallies = []
    for dataset in datasets:
        part = dataset.part(world.rank, world.size)  # no picture twice, none left out
        progress = partial(_until_signal, signals)
        tallies.append(measure(part, predict, name, ignore_index=ignore_index, progress=progress))
    if world.highest(signals.received):
        return None
    evaluations = []
    for tally in tallies:
        whole, *others = world.everyone(tally)
        for other in others:
            whole.merge(other)
        evaluations.append(whole.evaluation())
    return evaluations


def _until_signal(signals: Signals, examples: Iterable[Example]) -> Iterator[Example]:
    for example in examples:
        if signals.received:
            return
        yield example


class Later:
    """Numbers on their way from a device to this process, which waits for them only when it reads them."""

    def __init__(self, values: Tensor) -> None:
        self._values, self._event = values, None
        if values.is_cuda:
            self._values = values.to("cpu", non_blocking=True)  # into pinned memory
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def read(self) -> list[float]:
        """The numbers."""
        if self._event is not None:
            self._event.synchronize()
        numbers: list[float] = self._values.tolist()
        return numbers
