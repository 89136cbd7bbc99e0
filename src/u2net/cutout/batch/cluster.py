"""Pictures cut out by a Ray cluster: a Cutter is what Ray Data maps over their names, or over their bytes."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from pyarrow import fs

from u2net.cutout.batch.plan import Outcome, plan, target_names
from u2net.cutout.batch.pool import Tally
from u2net.cutout.cutter import CutoutConfig, Cutter
from u2net.errors import ClusterFailed, ConfigMismatch, InvalidDataset, InvalidImage, MissingExtra, U2NetError, reason
from u2net.images.load import LIMITS, SUFFIXES, read_encoded
from u2net.images.save import save_bytes
from u2net.inference.choose import has_gpu
from u2net.system import bound_heaps, num_processors

try:
    import ray
    from ray.data import DataContext, Dataset
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

except ImportError as error:
    raise MissingExtra(f"--engine ray needs: pip install 'u2net[ray]' ({error.name} is missing)") from None

_ROWS = 8  # pictures of a task: they are done again when an actor dies, and share what a task costs Ray
_MEMORY = 2**30  # bytes of an actor, as of a process of the pool
_TRIES = 3  # of a picture whose process dies; one more than in the pool, for nodes die, too


class Remover:
    """The actor: makes the file of a row's picture, and a row of what came of it.

    `tally` is the actor that a Tally is; without it nobody knows of pictures that end the process.
    """

    def __init__(self, cutter: Cutter, source: Storage, output: Storage, overwrite: bool, tally: Any = None) -> None:
        bound_heaps()
        self._cutter = cutter
        self._source, self._output, self._overwrite = source, output, overwrite
        self._tally, self._process = tally, secrets.token_hex(8)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row has a `name` and either its `target`, to be read from `source`, or its `bytes`.

        Raises what `Cutter.open` does, and nothing for pictures and files.
        """
        name = str(row["name"])
        target = row.get("target") or _target(name, self._cutter.config.format)
        told = {"name": name, "target": target or "", "status": "failed", "reason": "", "confidence": None}
        if target is None:
            return told | {"reason": "its name leads out of OUTPUT"}
        try:
            if not self._overwrite and self._output.holds(target):
                return told | {"status": "skipped", "reason": f"{target} is there already"}
            if self._times_begun(name) > _TRIES:
                return told | {"reason": f"the process that worked on it died {_TRIES} times"}
            cut = self._cutter(row["bytes"] or b"" if "bytes" in row else self._source.read(name))
            if cut.status == "done":
                self._output.write(target, cut.content)
        except (InvalidImage, OSError, MemoryError) as error:
            return told | {"reason": reason(error)}
        return told | {"status": cut.status, "reason": cut.reason, "confidence": cut.confidence}

    def _times_begun(self, name: str) -> int:
        if self._tally is None:
            return 1
        times: int = ray.get(self._tally.begin.remote(self._process, name))
        return times


def cut_out(
    source: Storage, output: Storage, cutter: Cutter, *, overwrite: bool, workers: int | None
) -> Iterator[Outcome]:
    """What came of each picture of a folder or of Parquet files, as Ray tells it; paths are relative.

    A folder's targets are named as `plan` does, a row's after its column `name`. What is in `output` stays, unless
    `overwrite`. A picture whose process dies is tried again, twice, and then has failed. Raises InvalidDataset for
    Parquet files with other columns, ClusterFailed, OSError, and what `Cutter.open` does.
    """
    with _joined(), _named_errors():
        if source.is_parquet:
            pictures = _read_parquet(source)
        else:
            targets, failures = _targets(source, output, f".{cutter.config.format}")
            yield from failures
            items = [{"name": name, "target": target} for name, target in targets.items()]
            pictures = ray.data.from_items(items, override_num_blocks=max(1, len(items) // _ROWS))
        given = cutter, source, output, overwrite, _new_tally()
        actors = actor_options(cutter.config, workers, ray.cluster_resources())  # type: ignore[no-untyped-call]
        told = pictures.map(Remover, fn_constructor_args=given, **actors)  # type: ignore[arg-type]
        for row in told.iter_rows():
            target = Path(row["target"]) if row["target"] else None
            yield Outcome(Path(row["name"]), target, row["status"], row["reason"], row["confidence"])


def actor_options(config: CutoutConfig, workers: int | None, resources: dict[str, float]) -> dict[str, Any]:
    """What each actor takes of a cluster's resources, and how many there are at most: as many as it has room for.

    With a GPU each where there are GPUs and this ONNX Runtime computes on them.
    """
    threads = config.threads or 1
    needs = {"CPU": threads}
    if resources.get("GPU") and config.runtime in ("auto", "onnxruntime") and has_gpu():
        needs["GPU"] = 1
    room = min(int(resources.get(name, 0) // num) for name, num in needs.items())
    return {
        "concurrency": (1, workers or max(1, room)),
        "num_cpus": threads,
        "num_gpus": needs.get("GPU", 0),
        "memory": _MEMORY,
    }


def _new_tally() -> Any:
    """On this node, which the run does not outlive, whichever others die."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    tally: Any = ray.remote(Tally)
    return tally.options(num_cpus=0, scheduling_strategy=here).remote()


def _targets(source: Storage, output: Storage, suffix: str) -> tuple[dict[str, str], list[Outcome]]:
    """What the pictures of a folder become, by their names, and the failures known beforehand."""
    if source.is_local:
        folder = Path(source.path)
        nowhere = Path(output.path if output.is_local else os.devnull)
        jobs, known = plan(folder, nowhere, suffix)
        pairs = [(job.source.relative_to(folder), job.target.relative_to(nowhere)) for job in jobs]
        failures = [replace(outcome, source=outcome.source.relative_to(folder)) for outcome in known]
    else:
        names = source.pictures(besides=output)
        pairs, failures = [], []
        for name, (target, is_alone) in zip(names, target_names(names, suffix), strict=True):
            if is_alone:
                pairs.append((name, target))
            else:
                failures.append(Outcome(name, None, "failed", f"another picture would become {target} too"))
    targets = {}
    for name, target in pairs:
        try:
            name.as_posix().encode()
            targets[name.as_posix()] = target.as_posix()
        except UnicodeEncodeError:
            failures.append(Outcome(name, None, "failed", "its name is not in UTF-8, which Ray passes on alone"))
    return targets, failures


def _read_parquet(source: Storage) -> Dataset:
    """Rows of a few pictures a task. Raises InvalidDataset if the columns are not there."""
    rows = ray.data.read_parquet(source.path, filesystem=source.system, num_cpus=0)
    names = rows.schema().names
    if not {"name", "bytes"} <= set(names):
        raise InvalidDataset(f"Parquet files need the columns name and bytes, and have {', '.join(names)}")
    return rows.select_columns(["name", "bytes"]).repartition(target_num_rows_per_block=_ROWS)


def _target(name: str, suffix: str) -> str | None:
    """What a row's name becomes; None where it would lie elsewhere. cup is cup.png, and cup.jpg is cup.jpg.png."""
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
        return None
    return f"{path}.{suffix}"


@contextmanager
def _joined() -> Iterator[None]:
    """Be part of the cluster at RAY_ADDRESS, or of one on this machine alone, of which nothing is left afterwards."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    DataContext.get_current().enable_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    with ExitStack() as stack:
        if "RAY_ADDRESS" not in os.environ:
            # Paths of sockets are short: a folder of temporary files that is a user's own may lie too deep.
            folder = stack.enter_context(TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True))
            quiet |= {"address": "local", "num_cpus": num_processors(), "include_dashboard": False, "_temp_dir": folder}
        try:
            ray.init(**quiet)
        except Exception as error:  # Ray raises just this where a node does not start in time
            raise ClusterFailed(f"Ray did not start: {reason(error)}") from error
        stack.callback(ray.shutdown)
        yield


@contextmanager
def _named_errors() -> Iterator[None]:
    """Raise what is meant to be shown as it was in an actor, and ClusterFailed for all else."""
    try:
        yield
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, (U2NetError, OSError)):
            raise cause from None
        raise ClusterFailed(f"Ray gave up: {reason(error)}") from error


_STORES = ("s3", "gcs", "abfs")  # where an object appears when all of it is there


@dataclass(frozen=True)
class Storage:
    """A folder or a file somewhere. May be pickled, as names and keys are taken from where it is used."""

    system: fs.FileSystem
    path: str

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disks, among them those that it shares with others."""
        return isinstance(self.system, fs.LocalFileSystem)

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file, or a folder with some. Raises OSError."""
        if self.path.endswith(".parquet"):
            return True
        return any(info.path.endswith(".parquet") for info in self.system.get_file_info(fs.FileSelector(self.path)))

    def pictures(self, besides: Storage) -> list[Path]:
        """Relative names of the pictures below it but not below `besides`, in their order. Raises OSError."""
        infos = self.system.get_file_info(fs.FileSelector(self.path, recursive=True))
        own = f"{besides.path}/" if besides.system.equals(self.system) else None
        files = (info.path for info in infos if info.is_file and not (own and info.path.startswith(own)))
        names = (Path(file).relative_to(self.path) for file in files)
        return sorted(n for n in names if n.suffix.lower() in SUFFIXES and not any(p.startswith(".") for p in n.parts))

    def holds(self, name: str) -> bool:
        """Whether there is anything of that name. Raises OSError."""
        return bool(self.system.get_file_info(self._at(name)).type != fs.FileType.NotFound)

    def read(self, name: str) -> bytes:
        """An encoded picture. Raises InvalidImage where it is too long to be one, and OSError."""
        if self.is_local:
            return read_encoded(self._at(name))
        with self.system.open_input_stream(self._at(name)) as stream:
            content = bytes(stream.read(LIMITS.max_bytes + 1))
        if len(content) > LIMITS.max_bytes:
            raise InvalidImage(f"larger than {LIMITS.max_bytes:,} bytes")
        return content

    def write(self, name: str, content: bytes) -> None:
        """Have a file hold this: all of it appears at once, and replaces what was there. Raises OSError."""
        path = self._at(name)
        if self.is_local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            save_bytes(content, path)
        elif self.system.type_name in _STORES:
            self._put(path, content)
        else:
            folder = path.rpartition("/")[0]
            self.system.create_dir(folder)
            part = f"{folder}/.{secrets.token_hex(8)}.part"
            self._put(part, content)
            self.system.move(part, path)

    def _put(self, path: str, content: bytes) -> None:
        with self.system.open_output_stream(path) as stream:
            stream.write(content)

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path


def open_storage(place: str) -> Storage:
    """A path, or a URI such as s3://bucket/folder. Raises ValueError for what is neither, and OSError."""
    if "://" not in place:
        return Storage(fs.LocalFileSystem(), str(Path(place).absolute()))
    system, path = fs.FileSystem.from_uri(place)
    return Storage(system, path.rstrip("/"))


NAME = "u2net-request.json"
"""Of the file in an output folder that tells what its files were made by."""


def begin(output: Storage, asked: dict[str, Any], *, overwrite: bool) -> None:
    """Note what is asked. Raises ConfigMismatch if something else was, or if an `overwrite` did not come to its end."""
    if output.holds(NAME) and not overwrite:
        before = json.loads(output.read(NAME))
        differences = sorted(key for key in before["asked"] | asked if before["asked"].get(key) != asked.get(key))
        if before["is_overwriting"]:
            differences.append("an --overwrite that was cut off")
        if differences:
            raise ConfigMismatch("OUTPUT", differences)
    _write(output, asked, is_overwriting=overwrite)


def end(output: Storage, asked: dict[str, Any]) -> None:
    """Note that all was told."""
    _write(output, asked, is_overwriting=False)


def _write(output: Storage, asked: dict[str, Any], *, is_overwriting: bool) -> None:
    output.write(NAME, f"{json.dumps({'is_overwriting': is_overwriting, 'asked': asked}, indent=1)}\n".encode())
