"""Where pictures come from and go to."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from u2net.cli.failure import Refusal

if TYPE_CHECKING:
    from u2net.images.save import Format

PIPE = Path("-")
"""stdin as a source, stdout as a target."""


def source_and_target(
    input: str,  # noqa: A002
    output: str | None,
    format_: Format | None,
    *,
    folder: bool,
    overwrite: bool,
) -> tuple[Path, Path, Format]:
    """Source, target and format. Raises Refusal where they make no sense together, or a file would be lost."""
    from u2net.images.save import SUFFIXES

    if input == "" or output == "":
        raise Refusal("a name is empty")
    source = _as_path(input)
    if source == PIPE:
        if sys.stdin is None or sys.stdin.isatty():
            raise Refusal("give a picture or a folder, or pipe a picture in")
    elif not os.path.lexists(source):
        raise Refusal(f"there is no {input}")
    default_format: Format = format_ or "png"
    if folder:
        real = Path(os.path.realpath(source))
        if output is None and not real.name:
            raise Refusal("give OUTPUT: there is no name for what this folder becomes")
        beside = source if source.name not in ("", "..") else real
        target = Path(output) if output else beside.with_name(f"{beside.name}.out")
        if output == "-" or os.path.isfile(target) or os.path.realpath(target) == str(real):
            raise Refusal("a folder needs another folder to go to")
        return source, target, default_format
    if output is None:
        output = "-" if source == PIPE else str(source.with_name(f"{source.stem}.out.{default_format}"))
    target = _as_path(output)
    if target == PIPE:
        if sys.stdout is None or sys.stdout.isatty():
            raise Refusal("a picture is not for the terminal: give OUTPUT, or pipe it on")
        return source, target, default_format
    if os.path.isdir(target) or output.endswith(("/", os.sep)):
        if source == PIPE:
            raise Refusal("a picture from stdin needs a name: give OUTPUT as a file")
        target /= f"{source.stem}.{default_format}"
    named = SUFFIXES.get(target.suffix.lower())
    if named is None or named != (format_ or named):
        raise Refusal(f"{target.name} does not end in " + (f".{format_}" if format_ else ", ".join(SUFFIXES)))
    if os.path.isfile(target):
        if source != PIPE and os.path.samefile(target, source):
            raise Refusal(f"{output} would replace the picture itself")
        if not overwrite:
            raise Refusal(f"{target} is there already: --overwrite replaces it")
    return source, target, named


def _as_path(name: str) -> Path:
    """The path of a name; "-" alone is a pipe, and "./-" a file of that name."""
    path = Path(name)
    return path.absolute() if path == PIPE and name != "-" else path
