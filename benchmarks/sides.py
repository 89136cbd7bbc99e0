"""The sides of a comparison: other packages, processes that answer, what processes take, and large photographs.

Imports nothing of this package, since the interpreters of other packages import it too.
"""

import json
import os
import select
import subprocess
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from PIL import Image


_INTERVAL_S = 0.2
_WORKERS = (b"spawn_main", b"Remover")  # in the command lines of the pool's processes and of Ray's actors
_TICKS = os.sysconf("SC_CLK_TCK")


def install_peer(name: str, version: str, extra: str = "") -> str:
    """The interpreter of `.peers/NAMEEXTRA`, in which this version of the package is installed, with its extra."""
    folder = Path(__file__).parents[1] / ".peers" / (name + extra)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    asked = [python, "-c", f"import importlib.metadata as m; print(m.version('{name}'))"]
    if subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() != version:
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"{name}{extra}=={version}"], check=True)
    return str(python)


class Side:
    """A process that answers one question at a time with a line of JSON: one side of a comparison."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def ask(self, question: str) -> Any:
        """The answer to one line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def enlarge(photograph: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    """An RGB photograph at a larger size.

    Its own fine detail (what a blur of one pixel removes) is added in tiles: photographs look alike at every scale, and
    detail is what an encoder works on.
    """
    import numpy as np
    from PIL import Image, ImageFilter

    width, height = size
    detail = np.asarray(photograph, np.int16) - np.asarray(photograph.filter(ImageFilter.GaussianBlur(1)), np.int16)
    mirrored = np.concatenate([detail, detail[::-1]])
    mirrored = np.concatenate([mirrored, mirrored[:, ::-1]], axis=1)  # so that tiles meet without a seam
    tiles = np.tile(mirrored, (-(-height // len(mirrored)), -(-width // mirrored.shape[1]), 1))[:height, :width]
    large = np.asarray(photograph.resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray((large + tiles).clip(0, 255).astype(np.uint8))


# ---- What processes take (Linux) -------------------------------------------------------------------------------


def memory_mib(field: str, pid: int | str = "self") -> float:
    """Memory of a process: VmRSS now, VmHWM at its most."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def forget_peak(pid: int | str = "self") -> None:
    """Begin VmHWM anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


@dataclass(frozen=True)
class Taken:
    """What one run of a command took."""

    wall_s: float
    cpu_s: float
    """Of all its processes."""
    worker_cpu_s: float
    """Of those that cut out."""
    worker_mib: float
    """The most that one of these held."""


def run_watched(command: list[str], environment: dict[str, str]) -> Taken:
    """Run a command to its end, and watch its processes. Raises CalledProcessError if it fails.

    Processes are read five times a second, so that up to 0.2 s of each is missed; the kernel's own count misses
    nothing, but only counts processes that were waited for. So the larger of the two is taken.
    """
    seen: dict[int, tuple[Any, ...]] = {}  # seconds, MiB, whether it cuts out; by the process
    start = perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        ends = os.pidfd_open(child.pid)
        while not select.select([ends], [], [], _INTERVAL_S)[0]:
            for pid, found in _processes_below(child.pid).items():
                # what ends has no memory left, and Ray's actors name themselves after what they do at the moment
                seen[pid] = tuple(map(max, found, seen.get(pid, found)))
        wall = perf_counter() - start
        os.close(ends)
        assert child.stdout is not None
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command, output)
    workers = [(seconds, mib) for seconds, mib, is_worker in seen.values() if is_worker]
    return Taken(
        wall_s=wall,
        cpu_s=max(sum(seconds for seconds, _, _ in seen.values()), usage.ru_utime + usage.ru_stime),
        worker_cpu_s=sum(seconds for seconds, _ in workers),
        worker_mib=max(mib for _, mib in workers),
    )


def _processes_below(root: int) -> dict[int, tuple[float, float, bool]]:
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
