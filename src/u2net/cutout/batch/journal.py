"""The journal of an output folder: what was asked, and what came of each picture. It survives a killed run."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, get_args

from u2net.cutout.batch.plan import Outcome
from u2net.cutout.cutter import Status
from u2net.errors import ConfigMismatch, FolderInUse, U2NetError
from u2net.system.files import can_lock, lock, new_folder, sync

NAME = "u2net-journal.jsonl"
"""The journal's file in an output folder."""

_KEYS = ("name", "status", "reason", "confidence", "size", "mtime_ns", "sha256", "target", "target_sha256")
_FACTS = dict.fromkeys(("reason", "sha256", "target", "target_sha256"), str) | {"size": int, "mtime_ns": int}
_KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "run": ({"run": dict}, {}),
    "begun": ({"begun": str}, {}),
    "name": ({"name": str, "status": str}, {**_FACTS, "confidence": int | float}),
    "ended": ({"ended": bool}, {}),
}
"""What a line has, and may have, by its first key."""
_RUN = {"goes_on": bool, "source": str, "overwrite": bool, "asked": dict}
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


class Journal:
    """The journal of an output folder, open for one run; a context manager.

    Each line is a JSON object, appended by one write: {"run": …}, what was asked; {"begun": name}, before a picture is
    begun; {"name": name, "status": …}, what came of it; {"ended": true}, when all pictures are done. Names are relative
    to the source folder, targets to the output folder.

    A run goes on from earlier runs of the same source folder. With `overwrite` it begins anew, unless the last run with
    `overwrite` was cut off. What is unknown in it, damaged or not ours, counts as untold.

    Raises ConfigMismatch if the earlier runs asked for something else, FolderInUse while another run has the journal
    open, OSError, and U2NetError for a journal that is a link: what is written would go elsewhere.
    """

    def __init__(self, output: Path, source: Path, asked: dict[str, Any], *, overwrite: bool = False) -> None:
        self.path = output / NAME
        self._source, self.output = source, output
        # Lines are kept as they are and parsed when needed: there may be millions.
        self._finished: dict[str, bytes] = {}
        self._begun: set[str] = set()
        new_folder(output)
        if self.path.is_symlink():
            raise U2NetError(f"{self.path} is a link, and no journal is written through it")
        self._file = os.open(self.path, _FLAGS, 0o666)
        self._beside: Any = None
        try:
            status = os.fstat(self._file)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise U2NetError(f"{self.path} is no file of its own, and no journal is written to it")
            self._lock()
            self._start({"source": os.path.realpath(source), "overwrite": overwrite, "asked": asked})
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync(self._file)
        self._close()
        sync(self.output)

    def outcome_of(self, source: Path) -> Outcome | None:
        """What came of a picture when it was last finished; None if it never was."""
        line = self._finished.get(self._name(source))
        return None if line is None else self._outcome(_parsed(line))

    def was_begun(self, source: Path) -> bool:
        """Whether a picture was begun and not finished: if it has a file, a killed run of this journal wrote it."""
        return self._name(source) in self._begun

    def begin(self, source: Path) -> None:
        """Note that a picture is begun."""
        self._append({"begun": self._name(source)})

    def finish(self, outcome: Outcome) -> None:
        """Note what came of a picture."""
        row = {key: getattr(outcome, key, None) for key in _KEYS}
        row["name"] = self._name(outcome.source)
        row["target"] = outcome.target and outcome.target.relative_to(self.output).as_posix()
        self._append({key: value for key, value in row.items() if value not in ("", None)})

    def end(self) -> None:
        """Note that every picture was done."""
        self._append({"ended": True})

    def _lock(self) -> None:
        if not can_lock():
            self._lock_beside()
        elif not lock(self._file):
            raise FolderInUse(f"another run writes to {self.output}")

    def _lock_beside(self) -> None:
        """Lock a file of its own: on Windows nobody else could read the journal while it is locked."""
        from filelock import FileLock, Timeout

        self._beside = FileLock(f"{self.path}.lock")
        try:
            self._beside.acquire(timeout=0)
        except Timeout:
            raise FolderInUse(f"another run writes to {self.output}") from None

    def _close(self) -> None:
        os.close(self._file)
        if self._beside is not None:
            self._beside.release()

    def _start(self, run: dict[str, Any]) -> None:
        last, has_ended = self._read(run["source"])
        goes_on = last is not None and not (
            run["overwrite"] and (has_ended or not last["overwrite"] or last["asked"] != run["asked"])
        )
        if not goes_on:
            self._finished.clear()
            self._begun.clear()
        elif last is not None and (changes := list(differences(last["asked"], run["asked"]))):
            raise ConfigMismatch(str(self.output), changes)
        self._append({"run": {"goes_on": goes_on, **run}})

    def _read(self, source: str) -> tuple[dict[str, Any] | None, bool]:
        """The last run of a source folder, and whether it ended. A last line that was cut off is dropped."""
        last, has_ended, is_ours, end = None, False, False, 0
        with open(os.dup(self._file), "rb") as lines:  # noqa: PTH123
            lines.seek(0)
            for line in lines:
                if not line.endswith(b"\n"):
                    os.ftruncate(self._file, end)
                    break
                end += len(line)
                row = _parsed(line)
                if "run" in row:
                    is_ours = row["run"]["source"] == source
                elif not row and (line.startswith(b'{"run"') or b'"goes_on"' in line):
                    is_ours = False  # a damaged line of a run: nobody knows of which source
                if not is_ours:
                    continue
                if "run" in row:
                    last, has_ended = row["run"], False
                    if not last["goes_on"]:
                        self._finished.clear()
                        self._begun.clear()
                elif "begun" in row:
                    self._begun.add(row["begun"])
                elif "name" in row:
                    self._begun.discard(row["name"])
                    self._finished[row["name"]] = line
                has_ended = has_ended or "ended" in row
        return last, has_ended

    def _append(self, row: dict[str, Any]) -> None:
        line = f"{json.dumps(row)}\n".encode()
        if os.write(self._file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _name(self, source: Path) -> str:
        return source.relative_to(self._source).as_posix()

    def _outcome(self, row: dict[str, Any]) -> Outcome | None:
        name, target = row.pop("name"), row.pop("target", None)
        if target is not None and (Path(target).is_absolute() or not {"..", NAME}.isdisjoint(Path(target).parts)):
            return None  # a journal from a stranger must not decide where to write
        return Outcome(self._source / name, None if target is None else self.output / target, **row)


def _parsed(line: bytes) -> dict[str, Any]:
    """A line's object; an empty one if it is damaged or not ours: its picture is then done again."""
    try:
        row = json.loads(line)
        required, optional = _KINDS[next(iter(row))]
        kinds = required | optional
        is_sound = required.keys() <= row.keys() and all(isinstance(row[key], kinds[key]) for key in row)
        is_sound = is_sound and row.get("status") in (None, *get_args(Status))
        is_sound = is_sound and "\0" not in os.fsencode(row.get("target", "")).decode("latin-1")
        if is_sound and "run" in row:
            is_sound = all(isinstance(row["run"][key], kind) for key, kind in _RUN.items())
        return row if is_sound else {}
    except (ValueError, TypeError, LookupError, StopIteration, AttributeError, RecursionError):
        return {}


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """A few words for each field of what was asked that differs."""
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from differences(was, now, f"{prefix}{name}.")
        elif was != now:
            yield f"{prefix}{name} was {_short(was)} and now is {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
