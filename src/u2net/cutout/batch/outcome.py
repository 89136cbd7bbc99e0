"""What came of a picture of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from u2net.batch.cutter import Status


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one picture, and what shows later whether it still holds."""

    source: Path
    target: Path | None
    """None if there is no file that it could become."""
    status: Status
    reason: str = ""
    """One line for what was not done."""
    confidence: float | None = None
    """How sure it is that the picture shows a subject, 0 to 1; None where nobody looked."""
    size: int | None = None
    """Bytes of the source when it was read; None where it was not."""
    mtime_ns: int | None = None
    sha256: str = ""
    """Of the source; empty where it was not read."""
    target_sha256: str = ""
    """Of the file that was written, now or from an earlier state of the source; empty where none was."""

    @property
    def is_settled(self) -> bool:
        """Whether looking again at the same picture would come to the same; only what could not be read might not."""
        return self.status == "done" or self.confidence is not None
