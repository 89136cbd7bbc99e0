"""What a command and all processes that it starts take of clock, processor and memory (Linux)."""

import os
import select
import subprocess
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

_LOOK_S = 0.2
_WORKERS = (b"spawn_main", b"Remover")  # in the command lines of the pool's processes and of Ray's actors
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Taken:
    """By one run of a command."""

    wall_s: float
    cpu_s: float
    """Of all its processes."""
    worker_cpu_s: float
    """Of those that cut out."""
    worker_mib: float
    """The most that one of these held."""


def run(command: list[str], environment: dict[str, str]) -> Taken:
    """Run a command to its end, looking at its processes as it goes. Raises CalledProcessError if it fails.

    Processes are looked at five times a second, so that a fifth of a second of each may be missed; the kernel's account
    knows better, but only of processes that somebody waited for. So the larger of the two is taken.
    """
    seen: dict[int, tuple[Any, ...]] = {}  # seconds, MiB, whether it cuts out; by the process
    start = perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        ends = os.pidfd_open(child.pid)
        while not select.select([ends], [], [], _LOOK_S)[0]:
            for pid, found in _look(child.pid).items():
                # what ends has no memory left, and Ray's actors name themselves after what they do at the moment
                seen[pid] = tuple(map(max, found, seen.get(pid, found)))
        wall = perf_counter() - start
        os.close(ends)
        assert child.stdout is not None
        told = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command, told)
    workers = [(seconds, mib) for seconds, mib, is_worker in seen.values() if is_worker]
    return Taken(
        wall_s=wall,
        cpu_s=max(sum(seconds for seconds, _, _ in seen.values()), usage.ru_utime + usage.ru_stime),
        worker_cpu_s=sum(seconds for seconds, _ in workers),
        worker_mib=max(mib for _, mib in workers),
    )


def _look(root: int) -> dict[int, tuple[float, float, bool]]:
    """Each process below one, and this itself: seconds of the processor, most MiB, whether it cuts out."""
    parents, seconds = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        parents[int(folder.name)] = int(fields[1])
        seconds[int(folder.name)] = sum(map(int, fields[11:13])) / _TICKS
    found = {}
    for pid in parents:
        above = pid
        while above != root and above in parents:
            above = parents[above]
        if above != root:
            continue
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        peak = next((int(row.split()[1]) / 1024 for row in status.splitlines() if row.startswith("VmHWM")), 0.0)
        found[pid] = seconds[pid], peak, any(word in line for word in _WORKERS)
    return found
