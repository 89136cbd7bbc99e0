"""The docstrings of a dataclass's fields, for options that are made of them."""

from __future__ import annotations

import ast
import inspect
import itertools


def field_docstrings(kind: type) -> dict[str, str]:
    """The string that follows each field of a dataclass, by the field's name; none where there is no source."""
    docstrings: dict[str, str] = {}
    try:
        source = inspect.getsource(kind)
    except OSError:  # programs that were frozen into one file carry none, and do without these helps
        return docstrings
    (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            docstrings[field.target.id] = " ".join(str(text.value.value).split())
    return docstrings
