"""What this process may use of the machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def num_processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, within the limit of the container; None where no one says."""
    known = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        known.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        known.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    if not known:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none on Windows
            known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(known, default=None)
