"""What was asked for an output folder that has no journal, so that it never holds a mixture."""

from __future__ import annotations

import json
from typing import Any

from u2net.batch.storage import Storage
from u2net.errors import ConfigMismatch

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
