"""What a folder costs besides its pictures, and what parts of a picture cost; each in a process of its own.

    python benchmarks/scale_parts.py steps PICTURE …     seconds of one thread for each step of a picture
    python benchmarks/scale_parts.py pool FOLDER NUM     what so many pictures cost the process that hands them out
    python benchmarks/scale_parts.py journal FOLDER NUM  what a journal of so many pictures costs
    python benchmarks/scale_parts.py known FOLDER NUM    what so many pictures cost that were done before

Prints JSON. FOLDER is empty, and filled.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from sides import memory_mib

from u2net.cutout.batch.journal import Journal
from u2net.cutout.batch.plan import Outcome, Task, plan
from u2net.cutout.batch.pool import Pool
from u2net.cutout.batch.tasks import do_tasks, look_up
from u2net.cutout.config import CutoutConfig
from u2net.cutout.cutter import Cut, Cutter
from u2net.cutout.finish import Finish
from u2net.cutout.outline import Outline
from u2net.images.load import load_image
from u2net.images.save import encode, save_bytes

_ASKED = {"format": "png"}
_SHA256 = hashlib.sha256(b"").hexdigest()


class Nothing:
    """Stands for a Cutter: what is left is the cost of the folder."""

    def open(self) -> None:
        """There is nothing to open."""

    def __call__(self, source: bytes) -> Cut:
        """A file of one byte."""
        return Cut("done", source[:1], confidence=0.9)


def steps(*names: str) -> dict[str, float]:
    """Seconds of the processor for each step of one picture, by `Cutter`'s defaults; medians over the pictures."""
    session = Cutter(CutoutConfig(model="u2netp", threads=1)).open()
    outline, finish = Outline(), Finish()
    taken: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = process_time()
        found = work()
        taken.setdefault(name, []).append(process_time() - start)
        return found

    def cut_out_in_steps(path: Path) -> None:
        content = timed("read", path.read_bytes)
        timed("digests", lambda: hashlib.sha256(content).hexdigest())
        picture = timed("decode", lambda: load_image(content))
        prediction = timed("network", lambda: outline.predict(picture, session))
        alpha = timed("outline", lambda: outline.alpha(picture, prediction))
        image = timed("colours", lambda: finish.apply(picture, alpha, in_place=True))
        made = timed("encode", lambda: encode(image, "png", picture.icc_profile, png_level=1))
        timed("digests of files", lambda: hashlib.sha256(made).hexdigest())
        timed("write", lambda: save_bytes(made, path.with_suffix(".png")))

    for path in [Path(names[0]), *map(Path, names)]:  # the first warms up
        cut_out_in_steps(path)
    found = {name: median(seconds[1:]) for name, seconds in taken.items()}
    found["digests"] += found.pop("digests of files")
    return found


def pool(name: str, num: str) -> dict[str, float]:
    """Seconds of the processor, for a picture, of the process that hands them out and keeps the journal."""
    folder = Path(name)
    sources = [folder / "in" / f"{i:07}.jpg" for i in range(int(num))]
    sources[0].parent.mkdir(parents=True)
    for source in sources:
        source.write_bytes(b"a picture")
    tasks = [Task(source, folder / "out" / f"{source.stem}.png") for source in sources]
    with Journal(folder / "out", folder / "in", _ASKED) as journal, Pool(Nothing(), 2) as workers:  # type: ignore[arg-type]
        do_tasks(tasks[:100], journal, workers.run, str)  # until all have started
        before = process_time()
        do_tasks(tasks[100:], journal, workers.run, str)
        return {"seconds_a_picture": (process_time() - before) / len(tasks[100:])}


def journal(name: str, num: str) -> dict[str, float]:
    """Bytes and seconds of a picture's lines, written and read again, and the memory that these take."""
    output, source, total = Path(name) / "out", Path(name) / "in", int(num)
    with Journal(output, source, _ASKED) as written:
        start = perf_counter()
        for i in range(total):
            written.begin(source / f"{i:010}.jpg")
            written.finish(_outcome(source / f"{i:010}.jpg", output / f"{i:010}.png"))
        wrote = perf_counter() - start
    before, start = memory_mib("VmRSS"), perf_counter()
    with Journal(output, source, _ASKED) as again:
        read = perf_counter() - start
        size = again.path.stat().st_size
        held = memory_mib("VmRSS") - before
    return {
        "bytes_a_picture": size / total,
        "seconds_to_write_a_picture": wrote / total,
        "seconds_to_read_a_picture": read / total,
        "bytes_of_memory_a_picture": held * 2**20 / total,
    }


def known(name: str, num: str) -> dict[str, float]:
    """Seconds for each picture that was done before: its folder is looked through, its lines are read, it is passed."""
    source, output = Path(name) / "in", Path(name) / "out"
    for folder in (source, output):
        folder.mkdir(parents=True)
    with Journal(output, source, _ASKED) as written:
        for i in range(int(num)):
            path, target = source / f"{i:010}.jpg", output / f"{i:010}.png"
            path.touch()
            target.touch()
            status = path.stat()
            written.finish(_outcome(path, target, status.st_size, status.st_mtime_ns))
    start = perf_counter()
    with Journal(output, source, _ASKED) as again:
        jobs, _ = plan(source, output, ".png")
        items = [look_up(job, again, overwrite=False) for job in jobs]
    seconds = perf_counter() - start
    assert len(items) == int(num)
    assert all(isinstance(item, Outcome) for item in items)
    return {"seconds_a_picture": seconds / int(num)}


def _outcome(source: Path, target: Path, size: int = 23456, mtime_ns: int = 1795375065201075560) -> Outcome:
    return Outcome(source, target, "done", "", 0.912345678, size, mtime_ns, _SHA256, _SHA256)


if __name__ == "__main__":
    os.environ.pop("OMP_NUM_THREADS", None)
    what = {"steps": steps, "pool": pool, "journal": journal, "known": known}
    print(json.dumps(what[sys.argv[1]](*sys.argv[2:])))
