"""How much room there is for pictures that are kept: asked before it is filled."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from u2net.errors import NotEnoughRoom
from u2net.system import available_memory

_SHARED = Path("/dev/shm")  # noqa: S108  (where Linux keeps memory that processes share)


def check_memory(num_bytes: int, shared: bool) -> None:
    """Raise NotEnoughRoom unless memory, if `shared` of the kind that processes share, has room for so much."""
    available = available_memory()
    if available is not None:
        _check(num_bytes, available, "memory; cache 'disk' or 'none' takes less")
    if shared and _SHARED.is_dir():
        advice = f"{_SHARED}; enlarge it (docker run --shm-size), or cache on 'disk', or have 0 workers"
        _check(num_bytes, shutil.disk_usage(_SHARED).free, advice)


def check_disk(num_bytes: int, folder: Path) -> None:
    """Raise NotEnoughRoom unless the disk of a folder has room for so much."""
    _check(num_bytes, shutil.disk_usage(folder).free, f"{folder}; cache 'none' takes none")


def check_device(num_bytes: int, device: torch.device) -> None:
    """Raise NotEnoughRoom unless a device has room for so much; what the network will need is not counted."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        _check(num_bytes, free, f"{device}; cache 'memory', 'disk' or 'none' takes none")
    else:
        check_memory(num_bytes, shared=False)


def _check(num_bytes: int, available: int, place: str) -> None:
    if num_bytes > available:
        needed, free = num_bytes / 2**30, available / 2**30
        raise NotEnoughRoom(f"the resized pictures need {needed:,.1f} GiB, and {free:,.1f} GiB are free in {place}")
