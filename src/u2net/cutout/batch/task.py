"""One picture's file, made once."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from u2net.batch.cutter import Cutter
from u2net.batch.outcome import Outcome
from u2net.encoding import save_bytes
from u2net.errors import InvalidImage, reason
from u2net.image import read_encoded


@dataclass(frozen=True, slots=True)
class Task:
    """A picture to be cut out into a file."""

    source: Path
    target: Path
    before: Outcome | None = None
    """What came of it in another state, or perhaps the same. The file of then is replaced, but not if it was changed
    by somebody since."""

    def fail(self, reason: str) -> Outcome:
        """What came of it where nothing was made; what is there stays, and stays known."""
        known = self.before.target_sha256 if self.before else ""
        return Outcome(self.source, self.target, "failed", reason, target_sha256=known)


def make(cutter: Cutter, task: Task) -> Outcome:
    """Cut out a picture into its file, which appears whole or not at all, and tell what came of it.

    A picture with the content that it had before stays as it is. Raises what `Cutter.open` does, and nothing for
    pictures and files.
    """
    before = task.before
    try:
        status = task.source.stat()
        content = read_encoded(task.source)
        after = task.source.stat()
        if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            return task.fail("changed while it was read")
    except (InvalidImage, OSError, MemoryError) as error:
        return task.fail(_reason(error, task.source))
    sha256 = hashlib.sha256(content).hexdigest()
    known = replace(task.fail(""), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256)
    try:
        if before and before.target_sha256 and os.path.lexists(task.target):
            if before.is_settled and before.sha256 == sha256:
                return replace(before, size=known.size, mtime_ns=known.mtime_ns)
            if _digest(task.target) != before.target_sha256:
                return replace(known, reason=f"{task.target} was changed since it was made: --overwrite replaces it")
        cut = cutter(content)
        if cut.status == "done":
            task.target.parent.mkdir(parents=True, exist_ok=True)
            save_bytes(cut.content, task.target)
            known = replace(known, target_sha256=hashlib.sha256(cut.content).hexdigest())
    except OSError as error:
        return replace(known, reason=_reason(error, task.source))
    return replace(known, status=cut.status, reason=cut.reason, confidence=cut.confidence)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception, source: Path) -> str:
    """What went wrong, and where, unless that is the picture itself."""
    where = getattr(error, "filename", None)
    return reason(error) + ("" if where in (None, str(source)) else f": {where}")
