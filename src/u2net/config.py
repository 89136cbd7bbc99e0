"""What all dataclasses share that people write: the check of their values, reading from JSON, docstrings as help."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import Field, field, fields
from functools import cache
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def option(default: Any, low: float | None = None, high: float | None = None, *, short: str = "") -> Any:
    """A field of a frozen dataclass with the range that `check_fields` holds it to.

    `short` is a name by which it is known too: of rembg's flag and HTTP parameter.
    """
    return field(default=default, metadata={"low": low, "high": high, "short": short})


def check_fields(config: Any) -> None:
    """Raise ValueError, naming the field, for a value that is not of its field's type or out of its range.

    Whole numbers pass for others; true and false do not. Lists, all that JSON knows, become tuples.
    """
    hints = field_types(config.__class__)
    for known in fields(config):
        value = getattr(config, known.name)
        if isinstance(value, list):
            value = tuple(value)
            object.__setattr__(config, known.name, value)
        _check_type(known.name, value, hints[known.name])
        low, high = known.metadata.get("low"), known.metadata.get("high")
        if value is not None and ((low is not None and value < low) or (high is not None and value > high)):
            raise ValueError(f"{known.name} is {range_of(known)}, got {value}")


def read_json(text: str, name: str) -> Any:
    """What a JSON text holds. Raises ValueError, with the name of what was expected."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a {name}: {error}") from None


def read_fields(kind: Callable[..., T], values: Any, name: str) -> T:
    """A dataclass from a JSON object with some of its fields. Raises ValueError for anything else."""
    if not isinstance(values, dict):
        raise ValueError(f"not a {name}: expected a JSON object")
    unknown = sorted(set(values) - {known.name for known in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"not a {name}: unknown field {unknown[0]!r}")
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"not a {name}: {error}") from None


def range_of(known: Field[Any]) -> str:
    """The range of a field of `option` in words; empty if it has none."""
    low, high = known.metadata.get("low"), known.metadata.get("high")
    if low is None:
        return ""
    return f"{low:g} or more" if high is None else f"{low:g} to {high:g}"


@cache
def field_types(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, by the field's name."""
    return get_type_hints(kind)


@cache
def field_docstrings(kind: Any) -> dict[str, str]:
    """The string that follows each field of a dataclass, by the field's name; none where there is no source."""
    docstrings: dict[str, str] = {}
    try:
        source = inspect.getsource(kind)
    except OSError:  # programs that were frozen into one file carry none, and do without these helps
        return docstrings
    (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    for known, text in itertools.pairwise(body):
        if isinstance(known, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(known.target, ast.Name)
            docstrings[known.target.id] = " ".join(str(text.value.value).split())
    return docstrings


def _check_type(name: str, value: object, kind: Any) -> None:
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        if value not in choices:
            raise ValueError(f"{name} is one of {', '.join(map(str, choices))}, got {value!r}")
        return
    if NoneType in choices:
        if value is not None:
            _check_type(name, value, choices[0])
        return
    if get_origin(kind) is tuple:
        fits = isinstance(value, tuple) and (... in choices or len(value) == len(choices))
        for item in value if isinstance(value, tuple) else ():
            _check_type(name, item, choices[0])
    elif get_origin(kind) is dict:
        fits = isinstance(value, dict)
        for item in value.values() if isinstance(value, dict) else ():
            _check_type(name, item, choices[1])
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise ValueError(f"{name} is of type {kind.__name__ if isinstance(kind, type) else kind}, got {value!r}")
