"""What came of many pictures, as `u2net remove` shows it: failures, progress, sums, JSON and a report."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from u2net.cli.failure import say, say_json
from u2net.errors import printable

if TYPE_CHECKING:
    from u2net.cli.folder import FolderOptions
    from u2net.cutout.batch.plan import Outcome
    from u2net.cutout.batch.report import Gallery


class Results:
    """Shows what came of pictures: failures and progress at once, and all of it at the end or when a run is cut off."""

    def __init__(self, options: FolderOptions, gallery: Gallery | None) -> None:
        self.counts: Counter[str] = Counter()
        self.left_alone: Counter[str] = Counter()
        """How many files of the folder are no pictures, by their suffix."""
        self._options = options
        self._gallery = gallery
        self._rows: list[dict[str, Any]] = []
        self._bar: Any = None

    def begin(self, num_tasks: int | None) -> None:
        """Begin a progress bar for so many pictures, if stderr is a terminal."""
        from tqdm import tqdm

        self._bar = tqdm(total=num_tasks, unit=" pictures", smoothing=0.1, disable=not is_terminal())

    @property
    def has_failed(self) -> bool:
        """Whether a picture failed, or there was none among the files."""
        return self.counts["failed"] > 0 or (not self.counts and self.left_alone.total() > 0)

    def add(self, outcome: Outcome, *, is_new: bool = True, names_skipped: bool = False) -> None:
        """Show what came of one picture; what was known before is no progress."""
        self.counts[outcome.status] += 1
        if outcome.status == "failed" or (names_skipped and outcome.status == "skipped"):
            self._bar.write(f"u2net: {printable(outcome.source)}: {printable(outcome.reason)}", file=sys.stderr)
        if is_new:
            self._bar.update()
        if self._options.as_json:
            self._rows.append(as_row(outcome))
        if self._gallery is not None:
            self._gallery.add(outcome)

    def end(self) -> None:
        """Print the sums or the JSON on stdout, and write the report."""
        if self._bar is not None:
            self._bar.close()
        if self._options.as_json:
            say_json(json.dumps({"pictures": self._rows, "left_alone": dict(self.left_alone)}, indent=2))
        else:
            sums = ", ".join(f"{self.counts[status]} {status}" for status in ("done", "skipped", "failed"))
            kinds = ", ".join(f"{n} {kind or 'without a suffix'}" for kind, n in sorted(self.left_alone.items()))
            say(sums + (f"; no pictures, left alone: {kinds}" if kinds else ""))
        if self._gallery is not None and self._options.report is not None:
            self._gallery.write(self._options.report)


def as_row(outcome: Outcome) -> dict[str, Any]:
    """What `--json` prints of a picture."""
    return {
        "source": str(outcome.source),
        "target": None if outcome.target is None else str(outcome.target),
        "status": outcome.status,
        "reason": outcome.reason,
        "confidence": None if outcome.confidence is None else round(outcome.confidence, 4),
    }


def is_terminal() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()
