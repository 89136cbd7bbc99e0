"""Cut out pictures on a Ray cluster: Ray Data maps actors with a Cutter over names of pictures, or over their bytes."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from u2net.cutout.batch.journal import differences
from u2net.cutout.batch.plan import Outcome, assign_targets, plan
from u2net.cutout.batch.pool import Attempts
from u2net.cutout.config import CutoutConfig
from u2net.cutout.cutter import Cutter
from u2net.errors import ClusterFailed, ConfigMismatch, InvalidDataset, InvalidImage, MissingExtra, U2NetError, reason
from u2net.images.formats import SUFFIXES
from u2net.images.limits import LIMITS, Limits, check_num_bytes, read_at_most, read_encoded
from u2net.images.save import save_bytes
from u2net.inference.choose import has_gpu
from u2net.system.process import bound_heaps, num_processors

try:
    import ray
    from pyarrow import fs
    from ray.data import DataContext, Dataset
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise MissingExtra(f"--engine ray needs: pip install 'u2net[ray]' ({error.name} is missing)") from None

NAME = "u2net-request.json"
"""The file in an output folder that says what its cut-outs were asked to be."""

_ROWS = 8  # pictures of a Ray task: they share its cost, and are looked at again when its actor dies
_MEMORY = 2**30  # bytes of an actor, as of a process of the pool
_TRIES = 3  # for a picture whose process dies; one more than in the pool, because nodes die, too
_STORES = ("s3", "gcs", "abfs")  # where an object appears when it is complete


@dataclass(frozen=True)
class Storage:
    """A folder or a file on a disk or in a store. May be pickled: each process uses the keys of its own machine."""

    system: fs.FileSystem
    path: str

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of this machine, or one that it shares."""
        return isinstance(self.system, fs.LocalFileSystem)

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file, or a folder with some. Raises OSError."""
        if self.path.endswith(".parquet"):
            return True
        return any(info.path.endswith(".parquet") for info in self.system.get_file_info(fs.FileSelector(self.path)))

    def files(self, besides: Storage) -> list[Path]:
        """Relative names of the files below it but not below `besides`, sorted; no hidden ones. Raises OSError."""
        infos = self.system.get_file_info(fs.FileSelector(self.path, recursive=True))
        own = f"{besides.path}/" if besides.system.equals(self.system) else None
        files = (info.path for info in infos if info.is_file and not (own and info.path.startswith(own)))
        names = (Path(file).relative_to(self.path) for file in files)
        return sorted(name for name in names if not any(part.startswith(".") for part in name.parts))

    def holds(self, name: str) -> bool:
        """Whether there is a file of that name. Raises OSError."""
        return bool(self.system.get_file_info(f"{self.path}/{name}").type != fs.FileType.NotFound)

    def read(self, name: str, limits: Limits = LIMITS) -> bytes:
        """A file's bytes. Raises InvalidImage if there are too many, and OSError."""
        if self.is_local:
            return read_encoded(f"{self.path}/{name}", limits)
        with self.system.open_input_stream(f"{self.path}/{name}") as stream:
            content = read_at_most(stream, limits.max_bytes)
        check_num_bytes(len(content), limits)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it: all of it appears at once. Raises OSError."""
        path = f"{self.path}/{name}"
        folder = path.rpartition("/")[0]
        if self.is_local:
            Path(folder).mkdir(parents=True, exist_ok=True)
            save_bytes(content, path)
            return
        part = path
        if self.system.type_name not in _STORES:
            self.system.create_dir(folder)
            part = f"{folder}/.{secrets.token_hex(8)}.part"
        with self.system.open_output_stream(part) as stream:
            stream.write(content)
        if part != path:
            self.system.move(part, path)


def open_storage(place: str) -> Storage:
    """A path, or a URI such as s3://bucket/folder. Raises ValueError for what is neither, and OSError."""
    if "://" not in place:
        return Storage(fs.LocalFileSystem(), str(Path(place).absolute()))
    system, path = fs.FileSystem.from_uri(place)
    return Storage(system, path.rstrip("/"))


def begin(output: Storage, asked: dict[str, Any], *, overwrite: bool) -> None:
    """Note what is asked. Raises ConfigMismatch after another request, or an `overwrite` that did not end."""
    if output.holds(NAME) and not overwrite:
        before = json.loads(output.read(NAME))
        changes = list(differences(before["asked"], asked))
        if before["is_overwriting"]:
            changes.append("an --overwrite was cut off")
        if changes:
            raise ConfigMismatch("OUTPUT", changes)
    _write_request(output, asked, is_overwriting=overwrite)


def end(output: Storage, asked: dict[str, Any]) -> None:
    """Note that every picture was done."""
    _write_request(output, asked, is_overwriting=False)


def _write_request(output: Storage, asked: dict[str, Any], *, is_overwriting: bool) -> None:
    output.write(NAME, f"{json.dumps({'is_overwriting': is_overwriting, 'asked': asked}, indent=1)}\n".encode())


def cut_out_by_ray(
    source: Storage,
    output: Storage,
    cutter: Cutter,
    *,
    overwrite: bool,
    workers: int | None,
    note: Callable[[Counter[str]], object] = Counter,
) -> Iterator[Outcome]:
    """The outcome of each picture of a folder or of Parquet files, as Ray gives them; paths are relative.

    A folder's files are named as `plan` names them, a row's file after its column `name`. A file that is in `output`
    already stays, unless `overwrite`. `note` gets how many files of a folder are no pictures, by suffix. A picture
    whose process dies is tried twice more, and then fails. Raises InvalidDataset for Parquet files without these
    columns, ClusterFailed, OSError, and what `Cutter.open` does.
    """
    with _cluster():
        if source.is_parquet:
            rows = _read_parquet(source)
        else:
            items, failures, left_alone = _items(source, output, f".{cutter.config.format}")
            note(left_alone)
            yield from failures
            rows = ray.data.from_items(items, override_num_blocks=max(1, len(items) // _ROWS))
        # The counts live on this node: if it dies, the run is over in any case.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        attempts = ray.remote(Attempts).options(num_cpus=0, scheduling_strategy=here).remote()
        given = cutter, source, output, overwrite, attempts
        actors = actor_options(cutter.config, workers, ray.cluster_resources())  # type: ignore[no-untyped-call]
        for row in rows.map(Remover, fn_constructor_args=given, **actors).iter_rows():  # type: ignore[arg-type]
            target = Path(row["target"]) if row["target"] else None
            yield Outcome(Path(row["name"]), target, row["status"], row["reason"], row["confidence"])


class Remover:
    """The actor: makes the file of a row's picture, and returns a row that says what came of it.

    `attempts` is an actor of `Attempts`; without one, pictures that kill their process are not counted.
    """

    def __init__(self, cutter: Cutter, source: Storage, output: Storage, overwrite: bool, attempts: Any = None) -> None:
        bound_heaps()
        self._cutter, self._source, self._output, self._overwrite = cutter, source, output, overwrite
        self._attempts, self._process = attempts, secrets.token_hex(8)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row has a `name`, and either the picture's `bytes` or its `target` if `source` has the picture.

        Raises what `Cutter.open` does; a bad picture or a full disk is a failed row.
        """
        name = str(row["name"])
        target = row.get("target") or _target(name, self._cutter.config.format)
        made = {"name": name, "target": target or "", "status": "failed", "reason": "", "confidence": None}
        if target is None:
            return made | {"reason": "its name leads out of OUTPUT"}
        try:
            if not self._overwrite and self._output.holds(target):
                return made | {"status": "skipped", "reason": f"{target} is there already"}
            if self._attempts and ray.get(self._attempts.begin.remote(self._process, name)) > _TRIES:
                return made | {"reason": f"the process that worked on it died {_TRIES} times"}
            cut = self._cutter(row["bytes"] or b"" if "bytes" in row else self._source.read(name, self._cutter.limits))
            if cut.status == "done":
                self._output.write(target, cut.content)
        except (InvalidImage, OSError, MemoryError) as error:
            return made | {"reason": reason(error)}
        return made | {"status": cut.status, "reason": cut.reason, "confidence": cut.confidence}


def actor_options(config: CutoutConfig, workers: int | None, resources: dict[str, float]) -> dict[str, Any]:
    """What each actor takes of a cluster's resources, and how many actors there are: `workers`, or as many as fit.

    Each takes a GPU if the cluster has some and this ONNX Runtime computes on them.
    """
    needs = {"CPU": config.threads or 1}
    if resources.get("GPU") and config.runtime in ("auto", "onnxruntime") and has_gpu():
        needs["GPU"] = 1
    fit = min(int(resources.get(name, 0) // each) for name, each in needs.items())
    most = workers or max(1, fit)
    return {"concurrency": (1, most), "num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0), "memory": _MEMORY}


def _items(source: Storage, output: Storage, suffix: str) -> tuple[list[dict[str, str]], list[Outcome], Counter[str]]:
    """A row for each picture of a folder, the pictures that are known to fail, and how many files are none, by suffix.

    In a store, where to look into each file would cost a request, the suffix alone says what is a picture.
    """
    if source.is_local:
        folder, nowhere = Path(source.path), Path(output.path if output.is_local else os.devnull)
        planned = plan(folder, nowhere, suffix, case_folds=None if output.is_local else False)
        targets = {task.source.relative_to(folder): task.target.relative_to(nowhere) for task in planned.tasks}
        failures = [replace(outcome, source=outcome.source.relative_to(folder)) for outcome in planned.failures]
        left_alone = planned.left_alone
    else:
        names = source.files(besides=output)
        left_alone = Counter(name.suffix.lower() for name in names if name.suffix.lower() not in SUFFIXES)
        pictures = {name: name for name in names if name.suffix.lower() in SUFFIXES}
        targets, failures = assign_targets(pictures, suffix, folds_case=False)
    items = []
    for name, target in targets.items():
        try:
            name.as_posix().encode()
            items.append({"name": name.as_posix(), "target": target.as_posix()})
        except UnicodeEncodeError:
            failures.append(Outcome(name, None, "failed", "its name is not in UTF-8, and Ray passes on no other names"))
    return items, failures, left_alone


def _read_parquet(source: Storage) -> Dataset:
    """Rows in blocks of a few pictures. Raises InvalidDataset if a column is missing."""
    rows = ray.data.read_parquet(source.path, filesystem=source.system, num_cpus=0)
    names = rows.schema().names
    if not {"name", "bytes"} <= set(names):
        raise InvalidDataset(f"Parquet files need the columns name and bytes, and have {', '.join(names)}")
    return rows.select_columns(["name", "bytes"]).repartition(target_num_rows_per_block=_ROWS)


def _target(name: str, suffix: str) -> str | None:
    """What a row's name becomes, None if it would lie elsewhere: cup is cup.png, and cup.jpg is cup.jpg.png."""
    path = PurePosixPath(name)
    leads_out = not path.name or path.is_absolute() or ".." in path.parts or "\0" in name
    return None if leads_out else f"{path}.{suffix}"


@contextmanager
def _cluster() -> Iterator[None]:
    """Join the cluster at RAY_ADDRESS, or start one on this machine that leaves nothing behind.

    Our own errors in actors are raised as they were; anything else that Ray reports is ClusterFailed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    DataContext.get_current().enable_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    with ExitStack() as stack:
        if "RAY_ADDRESS" not in os.environ:
            # In /tmp, because a socket's path must be short and the user's own folder for temporary files may not be.
            temp = stack.enter_context(TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True))
            options |= {"address": "local", "num_cpus": num_processors(), "include_dashboard": False, "_temp_dir": temp}
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises just this if a node does not start in time
            raise ClusterFailed(f"Ray did not start: {reason(error)}") from error
        stack.callback(ray.shutdown)
        try:
            yield
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, (U2NetError, OSError)):
                raise cause from None
            raise ClusterFailed(f"Ray gave up: {reason(error)}") from error
