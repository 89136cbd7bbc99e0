"""The largest batch that fits into memory, found by measuring smaller ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from u2net.errors import NotEnoughRoom
from u2net.system.process import available_memory
from u2net.training.config import TrainConfig
from u2net.training.objective import Objective, find_precision, new_network
from u2net.training.optimizer import set_training
from u2net.training.parallel import World, find_device
from u2net.training.snapshot import State

_TRIED = (2, 4)  # batches to measure; each further picture takes the same amount of memory
_SHARE = 0.9  # of free memory to use; the rest is for short peaks


def find_batch_size(config: TrainConfig) -> int:
    """The largest `batch_size` for which a step of this configuration fits, from measured steps of 2 and 4 pictures.

    On a GPU the result is tried, and lowered until it fits. Raises NotEnoughRoom if not even two pictures fit, and
    ValueError for a CPU on a system other than Linux, which reports the peak of a process's memory.
    """
    device = find_device(config.device)
    step = _new_step(config, device)
    peaks = [_peak(step, size, device) for size in _TRIED]
    for_each = max(1, (peaks[1] - peaks[0]) // (_TRIED[1] - _TRIED[0]))
    largest = _TRIED[1] + int(_SHARE * _free(device) / for_each)
    while device.type == "cuda":
        try:
            _peak(step, largest, device)
            break
        except NotEnoughRoom:
            largest = int(_SHARE * largest)
            if largest < 1:
                raise NotEnoughRoom("the GPU has no room for a step of one picture") from None
    return largest


def _new_step(config: TrainConfig, device: torch.device) -> Callable[[int], None]:
    """A function that takes whole steps, with the optimiser's moments, on pictures of noise."""
    config = replace(config, precision=find_precision(config.precision, device))
    network, transform = new_network(config)
    state = State(network, config, World(0, 1, device))
    objective = Objective(network, config, transform).to(device)
    set_training(network, config)

    def step(batch_size: int) -> None:
        shape = (config.crop, config.crop)
        images = torch.randint(256, (batch_size, 3, *shape), dtype=torch.uint8, device=device)
        masks = torch.randint(max(2, config.num_classes), (batch_size, 1, *shape), dtype=torch.uint8, device=device)
        objective(images, masks).total.backward()
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)

    return step


def _peak(step: Callable[[int], None], batch_size: int, device: torch.device) -> int:
    """Bytes in use at the peak of a step. Raises NotEnoughRoom if a GPU runs out of memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        try:
            step(batch_size)
        except torch.OutOfMemoryError:
            raise NotEnoughRoom(f"{device} has no room for a step of {batch_size} pictures") from None
        return torch.cuda.max_memory_reserved(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the former peak
        step(batch_size)
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        raise ValueError("the largest batch is found on a GPU, and on the CPU under Linux") from None


def _free(device: torch.device) -> int:
    """Bytes that are still free."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    return available_memory() or 0
