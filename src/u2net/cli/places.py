"""Which pictures the names on the command line are, and which file each becomes, so that none is lost by a slip."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from u2net.cli.failure import Refusal
from u2net.cli.options import check_free

if TYPE_CHECKING:
    from u2net.images import Format

PIPE = Path("-")
"""stdin as a source, stdout as a target."""


def split_names(names: tuple[str, ...], output: str | None) -> tuple[list[str], str | None]:
    """INPUTs and OUTPUT among the names: the last of several is OUTPUT, unless -o gave it or it is there as a file.

    `u2net remove *.jpg` must not take its last picture for OUTPUT. Raises Refusal for empty names.
    """
    if output == "" or "" in names:
        raise Refusal("INPUT or OUTPUT is an empty name")
    inputs = list(names) or ["-"]
    if output is None and len(inputs) > 1 and (os.path.isdir(inputs[-1]) or not os.path.lexists(inputs[-1])):
        output = inputs.pop()
    return inputs, output


def several_sources(inputs: list[str]) -> list[Path]:
    """Pictures that were named, each once. Raises Refusal for what is no file."""
    sources: dict[str, Path] = {}
    for name in inputs:
        path = _as_path(name)
        if path == PIPE:
            raise Refusal("stdin is one picture: it has no others beside it")
        if os.path.isdir(path):
            raise Refusal(f"{name} is a folder: give one folder, or pictures alone")
        if not os.path.lexists(path):
            raise Refusal(f"{name} does not exist")
        sources.setdefault(os.path.realpath(path), path)
    return list(sources.values())


def several_targets(output: str | None) -> Path | None:
    """The folder for several pictures; None for beside each. Raises Refusal for what is or looks like a file."""
    from u2net.images.save import SUFFIXES

    if output is None:
        return None
    target = _as_path(output)
    if target == PIPE:
        raise Refusal("several pictures cannot go to stdout")
    looks_like_file = target.suffix.lower() in SUFFIXES and not output.endswith(("/", os.sep))
    if os.path.isfile(target) or (looks_like_file and not os.path.isdir(target)):
        raise Refusal(f"several pictures need a folder as OUTPUT, and {output} is none")
    return target


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

    source = _as_path(input)
    if source == PIPE:
        if sys.stdin is None or sys.stdin.isatty():
            raise Refusal("give a picture or a folder, or pipe a picture in")
    elif not os.path.lexists(source):
        raise Refusal(f"{input} does not exist")
    default_format: Format = format_ or "png"
    if folder:
        real = Path(os.path.realpath(source))
        if output is None and not real.name:
            raise Refusal("give OUTPUT: no name can be made from the name of this folder")
        beside = source if source.name not in ("", "..") else real
        target = Path(output) if output else beside.with_name(f"{beside.name}.out")
        if output == "-" or os.path.isfile(target) or os.path.realpath(target) == str(real):
            raise Refusal("OUTPUT must be another folder")
        return source, target, default_format
    is_named = output is not None
    if output is None:
        output = "-" if source == PIPE else str(source.with_name(f"{source.stem}.out.{default_format}"))
    target = _as_path(output)
    if target == PIPE:
        if sys.stdout is None or sys.stdout.isatty():
            raise Refusal("stdout is a terminal: give OUTPUT, or pipe the picture to a program")
        return source, target, default_format
    if os.path.isdir(target) or output.endswith(("/", os.sep)):
        if source == PIPE:
            raise Refusal("a picture from stdin needs a name: give OUTPUT as a file")
        target /= f"{source.stem}.{default_format}"
        is_named = False
    named = SUFFIXES.get(target.suffix.lower())
    if named is None or named != (format_ or named):
        raise Refusal(f"{target.name} does not end in " + (f".{format_}" if format_ else ", ".join(SUFFIXES)))
    if source != PIPE and os.path.isfile(target) and os.path.samefile(target, source):
        raise Refusal(f"{output} would replace the picture itself")
    check_free(target, overwrite=overwrite)
    if target.is_symlink() and not is_named:
        raise Refusal(f"{target} is a link: give it with -o to write to where it leads")
    return source, target, named


def _as_path(name: str) -> Path:
    """The path of a name; "-" alone is a pipe, and "./-" a file of that name."""
    path = Path(name)
    return path.absolute() if path == PIPE and name != "-" else path
