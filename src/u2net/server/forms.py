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

from u2net.images.formats import HEAD, kind_of
from u2net.server.problems import Problem

_MAX_FIELD_BYTES = 1024
_NO_BOUNDARY = (
    "multipart/form-data is given without its boundary: do not set Content-Type, so that the client (curl -F, fetch "
    "with FormData, requests with files=) writes it itself"
)
_NO_FORM = (
    "the form cannot be read, or has too many fields; a picture is sent with curl -F or --data-binary, not with -d"
)


@dataclass(frozen=True)
class Form:
    """What came. Fields and files that were left empty, as browsers send them, are absent."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


async def read_form(request: Request, files: Collection[str], fields: Collection[str]) -> Form:
    """Read a form with these files and fields, or a body that is the first of the files itself.

    Bodies are multipart/form-data, application/x-www-form-urlencoded, or a picture. That is told by its content, for
    clients say what they like: `curl --data-binary` calls it a form, browsers and Python's requests give it no type.
    An unknown or repeated name ends the reading, so there are never more parts than names.

    Raises Problem: 415 for other bodies, 400 for a broken form, and what reading raises.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    parts = _Parts(files, fields)
    if kind == b"multipart/form-data":
        if b"boundary" not in options:
            raise Problem(415, _NO_BOUNDARY)
        reader = _MultipartReader(options[b"boundary"], parts)
        async for chunk in request.stream():
            reader.write(chunk)
        reader.check_end()
        return parts.form()
    body = b"".join([chunk async for chunk in request.stream()])  # request.body() would keep it as long as the request
    is_urlencoded = kind == b"application/x-www-form-urlencoded"
    is_picture = kind.startswith(b"image/") or kind == b"application/octet-stream" or kind_of(body[:HEAD]) is not None
    # Pictures hold zeros. Where they do not, `curl -d` took them out, and line ends with them.
    if is_picture and not (is_urlencoded and b"\0" not in body):
        return Form({}, {next(iter(files)): body})
    if is_urlencoded:
        try:
            text = body.decode("ascii")
            pairs = parse_qsl(text, errors="strict", max_num_fields=len(files) + len(fields))
        except (ValueError, UnicodeDecodeError):
            raise Problem(400, _NO_FORM) from None
        for name, value in pairs:
            parts.begin(name).write(value.encode())
        return parts.form()
    raise Problem(415, "send multipart/form-data with a picture, or a picture itself")


class _Parts:
    """The parts of a form, each of which must have a known name of its own."""

    def __init__(self, files: Collection[str], fields: Collection[str]) -> None:
        self.files, self._fields = files, fields
        self._parts: dict[str, BytesIO] = {}

    def begin(self, name: str) -> BytesIO:
        """What takes the content of a new part. Raises Problem for an unknown or repeated name."""
        if name not in self.files and name not in self._fields:
            shown = name if name.isprintable() and len(name) < 40 else "a field"
            raise Problem(400, f"{shown} is unknown here; the fields are {', '.join((*self.files, *self._fields))}")
        if name in self._parts:
            raise Problem(400, f"{name} is given twice")
        part = self._parts[name] = BytesIO()
        return part

    def form(self) -> Form:
        """All parts that are not empty. Raises Problem for a field that is not UTF-8."""
        given = {name: content for name, part in self._parts.items() if (content := part.getvalue())}
        try:
            fields = {name: content.decode() for name, content in given.items() if name not in self.files}
        except UnicodeDecodeError:
            raise Problem(400, "a field is not UTF-8") from None
        return Form(fields, {name: content for name, content in given.items() if name in self.files})


class _MultipartReader:
    """Takes a multipart body piece by piece.

    Starlette's own parser was tried. It writes files of more than 1 MiB to a disk unless told otherwise, reads unknown
    and repeated parts to their end, takes a body that was cut short for an empty form, a file without a filename for
    text, and bytes that are not UTF-8 for Latin-1. Four of its eight callbacks, and private state, would be replaced.
    """

    def __init__(self, boundary: bytes, parts: _Parts) -> None:
        self._parts = parts
        self._name, self._part = "", BytesIO()
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

    def check_end(self) -> None:
        """Raise Problem if the body was cut short."""
        if not self._is_over:
            raise Problem(400, "the multipart body ends too early")

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
        self._part = self._parts.begin(self._name)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._part.write(memoryview(data)[start:end])
        if self._name not in self._parts.files and self._part.tell() > _MAX_FIELD_BYTES:
            raise Problem(400, f"{self._name} is longer than {_MAX_FIELD_BYTES:,} bytes")

    def _on_end(self) -> None:
        self._is_over = True
