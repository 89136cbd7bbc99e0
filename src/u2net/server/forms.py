"""Request bodies as fields and files, kept in memory: users' pictures are never written to a disk."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from u2net.server.problems import Problem

_MAX_FIELD_BYTES = 1024


@dataclass(frozen=True)
class Form:
    """What came. Fields and files that were left empty, as browsers send them, are absent."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


async def read_form(request: Request, files: Collection[str], fields: Collection[str]) -> Form:
    """Read a form with these files and fields, or a body that is the first of the files itself.

    Bodies are multipart/form-data, application/x-www-form-urlencoded, image/… or application/octet-stream. An unknown
    or repeated name ends the reading, so there are never more parts than names.

    Raises Problem: 415 for other bodies, 400 for a broken form, and what reading raises.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data" and b"boundary" in options:
        reader = _MultipartReader(options[b"boundary"], files, fields)
        async for chunk in request.stream():
            reader.write(chunk)
        return reader.form()
    if kind == b"application/x-www-form-urlencoded":
        return _from_urlencoded(await _read(request), files, fields)
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return Form({}, {next(iter(files)): await _read(request)})
    raise Problem(415, "send multipart/form-data with a picture, or a picture itself as image/… or octet-stream")


async def _read(request: Request) -> bytes:
    return b"".join([chunk async for chunk in request.stream()])


def _from_urlencoded(body: bytes, files: Collection[str], fields: Collection[str]) -> Form:
    try:
        pairs = parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=len(files) + len(fields))
    except (ValueError, UnicodeDecodeError):
        raise Problem(400, "the form cannot be read, or has too many fields") from None
    parts: dict[str, bytes] = {}
    for name, value in pairs:
        _check_name(name, parts, files, fields)
        parts[name] = value.encode()
    return _to_form(parts, files)


class _MultipartReader:
    """Takes a multipart body piece by piece.

    Starlette's own parser was tried. It writes files of more than 1 MiB to a disk unless told otherwise, reads unknown
    and repeated parts to their end, takes a body that was cut short for an empty form, a file without a filename for
    text, and bytes that are not UTF-8 for Latin-1. Four of its eight callbacks, and private state, would be replaced.
    """

    def __init__(self, boundary: bytes, files: Collection[str], fields: Collection[str]) -> None:
        self._files, self._fields = files, fields
        self._parts: dict[str, BytesIO] = {}
        self._name = ""
        self._header = self._value = self._disposition = b""
        self._is_over = False
        events = ["part_begin", "header_field", "header_value", "header_end", "headers_finished", "part_data", "end"]
        callbacks: Any = {f"on_{event}": getattr(self, f"_on_{event}") for event in events}
        self._parser = MultipartParser(boundary, callbacks)

    def write(self, chunk: bytes) -> None:
        """Take a piece. Raises Problem."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise Problem(400, "the multipart body is broken") from None

    def form(self) -> Form:
        """What came. Raises Problem if it was cut short."""
        if not self._is_over:
            raise Problem(400, "the multipart body ends too early")
        return _to_form({name: part.getvalue() for name, part in self._parts.items()}, self._files)

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        _check_name(self._name, self._parts, self._files, self._fields)
        self._parts[self._name] = BytesIO()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._parts[self._name]
        part.write(memoryview(data)[start:end])
        if self._name not in self._files and part.tell() > _MAX_FIELD_BYTES:
            raise Problem(400, f"{self._name} is longer than {_MAX_FIELD_BYTES:,} bytes")

    def _on_end(self) -> None:
        self._is_over = True


def _check_name(name: str, parts: Collection[str], files: Collection[str], fields: Collection[str]) -> None:
    if name not in files and name not in fields:
        shown = name if name.isprintable() and len(name) < 40 else "a field"
        raise Problem(400, f"{shown} is unknown here; the fields are {', '.join((*files, *fields))}")
    if name in parts:
        raise Problem(400, f"{name} is given twice")


def _to_form(parts: dict[str, bytes], files: Collection[str]) -> Form:
    try:
        fields = {name: part.decode() for name, part in parts.items() if part and name not in files}
    except UnicodeDecodeError:
        raise Problem(400, "a field is not UTF-8") from None
    return Form(fields, {name: part for name, part in parts.items() if part and name in files})
