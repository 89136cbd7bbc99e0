"""Command-line options made from the fields of a configuration: their types, ranges, defaults and docstrings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from u2net.cli.failure import Refusal
from u2net.config import field_docstrings, field_types, range_of

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(
    kind: type,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    names: Mapping[str, tuple[str, ...]] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    is_changed: bool = False,
) -> Callable[[Command], Command]:
    """Give a command one option for each field of a dataclass but those in `skip`; the docstring is the help.

    With `only` it has options for these fields alone. An option that is not given has the value None, or () where it
    may be repeated. The flag follows the field's name, after the metadata's "short"; `names` replaces both, and
    `settings` adds to the arguments of `click.option`. Where the options change a configuration that has values
    already, `is_changed`, no defaults are shown, and what is on can be turned off.
    """

    def decorate(command: Command) -> Command:
        helps, hints = field_docstrings(kind), field_types(kind)
        for field in reversed(fields(kind)):
            if field.name in skip or (only and field.name not in only):
                continue
            short = field.metadata.get("short", "")
            flags = (names or {}).get(field.name) or (
                *([f"-{short}"] if short else []),
                f"--{field.name.replace('_', '-')}",
            )
            arguments = _settings(field, hints[field.name], helps.get(field.name, ""))
            if is_changed:
                arguments["help"] = helps.get(field.name)
                if hints[field.name] is bool:
                    flags = (f"{flags[-1]}/--no-{flags[-1].removeprefix('--')}",)
            command = click.option(*flags, field.name, **{**arguments, **(settings or {}).get(field.name, {})})(command)
        return command

    return decorate


overwrite_option = click.option("--overwrite", is_flag=True, help="Replace files that exist already.")
"""What lets a verb replace the files that it writes: without it a glob or a typo could cost a file."""


def check_free(*paths: Path | None, overwrite: bool) -> None:
    """Raise Refusal for a file that exists already, unless it may be replaced."""
    for path in paths:
        if path is not None and not overwrite and (path.is_file() or (path.is_symlink() and not path.exists())):
            raise Refusal(exists_already(path))


def exists_already(path: Path) -> str:
    """Why a file is not written, and what would replace it."""
    return f"{path} exists already: --overwrite replaces it"


def given_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those options of `config_options` that stood on the command line."""
    return {name: value for name, value in given.items() if value is not None and value != ()}


def _settings(field: Field[Any], hint: Any, text: str) -> dict[str, Any]:
    """Arguments of `click.option` for a field: a Literal is a choice, a bool a flag, and a tuple may be repeated."""
    arguments: dict[str, Any] = {"default": None, "help": text}
    kind = get_args(hint)[0] if NoneType in get_args(hint) else hint
    if kind is bool:
        return {"default": None, "is_flag": True, "help": text}
    shown = ", ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    if (limits := range_of(field)) and "[default" not in text:
        arguments["help"] = text = f"{text}  [{limits}]"
    if shown not in (None, "") and "[default" not in text:
        arguments["help"] = f"{text}  [default: {shown}]"
    if get_origin(kind) is Literal:
        arguments["type"] = click.Choice([str(choice) for choice in get_args(kind)])
        if isinstance(field.default, int):
            arguments["callback"] = lambda _context, _option, value: value and int(value)
    elif get_origin(kind) is tuple:
        arguments["multiple"] = True
        arguments["metavar"] = "NAME"
    elif kind is int:
        arguments["metavar"] = "N"
        arguments["type"] = int
    elif kind is float:
        arguments["metavar"] = "X"
        arguments["type"] = float
    return arguments
