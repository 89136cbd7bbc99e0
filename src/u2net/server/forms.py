"""Request bodies as fields and files, kept in memory: users' pictures are never written to a disk."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from u2net.images.formats import HEAD, kind_of
from u2net.server.problems import Problem

_MAX_FIELD_BYTES = 1024
_PIECE_BYTES = 64 * 1024
_NO_BOUNDARY = (
    "multipart/form-data is given without its boundary: do not set Content-Type, so that the client (curl -F, fetch "
    "with FormData, requests with files=) writes it itself"
)
_NO_FORM = (
    "the form cannot be read, or has too many fields; a picture is sent with curl -F or --data-binary, not with -d"
)
_NO_JSON = "the body is no JSON object of strings and numbers by the names of the fields"

# What takes one step of a JSON object. Each is bounded, and gives nothing back: `re` lets no other thread run.
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?\s{0,999}+\{")
_JSON_NAME = re.compile(rb'\s{0,999}+"(\w{1,40}+)"\s{0,999}+:\s{0,999}+')
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.){0,%d}+"' % (6 * _MAX_FIELD_BYTES), re.DOTALL)
_JSON_OTHER = re.compile(rb"null|true|false|[-+.0-9eE]{1,64}+")
_JSON_NEXT = re.compile(rb"\s{0,999}+(?:(,)|\}\s{0,999}+\Z)")
# How clients write what base64 and data URLs have besides letters and digits.
_IN_BASE64 = "+/=:;,\r\n\t "
_URL_ESCAPES = {f"%{ord(sign):02{case}}".encode(): sign.encode() for sign in _IN_BASE64 for case in "xX"}
_JSON_ESCAPES = {f"\\u{ord(sign):04{case}}".encode(): sign.encode() for sign in _IN_BASE64 for case in "xX"}
_MAX_ESCAPE = 6
_JSON_ESCAPES |= {b"\\/": b"/", b"\\r": b"\r", b"\\n": b"\n", b"\\t": b"\t"}


@dataclass(frozen=True)
class Form:
    """What came. Fields and files that were left empty, as browsers send them, are absent."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


async def read_form(
    request: Request, files: Collection[str], fields: Collection[str], *, takes_json: bool = False
) -> Form:
    """Read a form with these files and fields, or a body that is the first of the files itself.

    Bodies are multipart/form-data, application/x-www-form-urlencoded, JSON where it is taken, or a picture. Which one
    is told by the content, for clients say what they like: `curl --data-binary` calls a picture a form, `curl -d` JSON,
    browsers and Python's requests give it no type. An unknown, repeated or long field ends the reading, so there are
    never more parts than names. All is read in a thread: nothing that a client sends keeps the event loop busy.

    Raises Problem: 415 for other bodies, 400 for a broken form, and what reading raises.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind == b"multipart/form-data" and not boundary:
        raise Problem(415, _NO_BOUNDARY)
    body = bytearray()  # not a list: of pieces of one byte each would take forty
    try:
        async for chunk in request.stream():
            body += chunk
    except BaseException:
        body.clear()  # a traceback keeps it until the refusal has been sent
        raise
    return await run_in_threadpool(_read, body, kind, boundary, _Parts(files, fields), takes_json)


def _read(body: bytearray, kind: bytes, boundary: bytes, parts: _Parts, takes_json: bool) -> Form:
    is_urlencoded = kind == b"application/x-www-form-urlencoded"
    if kind == b"multipart/form-data":
        _read_multipart(body, boundary, parts)
        return parts.form()
    if takes_json and (kind == b"application/json" or ((is_urlencoded or not kind) and _JSON_START.match(body))):
        _read_json(body, parts)
        return parts.form()
    is_picture = kind.startswith(b"image/") or kind == b"application/octet-stream"
    is_picture = is_picture or kind_of(bytes(body[:HEAD])) is not None
    # Pictures hold zeros. Where they do not, `curl -d` took them out, and line ends with them.
    if is_picture and not (is_urlencoded and b"\0" not in body):
        return Form({}, {next(iter(parts.files)): bytes(body)})
    if is_urlencoded:
        _read_urlencoded(body, parts)
        return parts.form()
    raise Problem(415, "send multipart/form-data with a picture, or a picture itself")


class _Parts:
    """The parts of a form, each of which must have a known name of its own."""

    def __init__(self, files: Collection[str], fields: Collection[str]) -> None:
        self.files, self.fields = files, fields
        self._parts: dict[str, BytesIO] = {}

    def begin(self, name: str) -> None:
        """Begin a part. Raises Problem for an unknown or repeated name."""
        if name not in self.files and name not in self.fields:
            shown = name if name.isprintable() and len(name) < 40 else "a field"
            raise Problem(400, f"{shown} is unknown here; the fields are {', '.join((*self.files, *self.fields))}")
        if name in self._parts:
            raise Problem(400, f"{name} is given twice")
        self._parts[name] = BytesIO()

    def add(self, name: str, content: bytes | memoryview) -> None:
        """Add to a part that was begun. Raises Problem for a field that gets too long."""
        part = self._parts[name]
        if name not in self.files and part.tell() + len(content) > _MAX_FIELD_BYTES:
            raise Problem(400, f"{name} is longer than {_MAX_FIELD_BYTES:,} bytes")
        part.write(content)

    def form(self) -> Form:
        """All parts that are not empty. Raises Problem for a field that is not UTF-8."""
        given = {name: content for name, part in self._parts.items() if (content := part.getvalue())}
        try:
            fields = {name: content.decode() for name, content in given.items() if name not in self.files}
        except UnicodeDecodeError:
            raise Problem(400, "a field is not UTF-8") from None
        return Form(fields, {name: content for name, content in given.items() if name in self.files})


def _read_urlencoded(body: bytearray, parts: _Parts) -> None:
    if not body.isascii() or body.count(b"&") > 2 * (len(parts.files) + len(parts.fields)):
        raise Problem(400, _NO_FORM)
    for pair in body.split(b"&"):
        key, _, value = pair.partition(b"=")
        if not value:
            continue
        name = unquote_to_bytes(bytes(key[:_MAX_FIELD_BYTES]).replace(b"+", b" ")).decode("utf-8", "replace")
        parts.begin(name)
        if name in parts.files:
            content = _unescaped(bytes(value), b"%", _URL_ESCAPES)
        else:
            content = unquote_to_bytes(bytes(value[: 3 * _MAX_FIELD_BYTES + 1]).replace(b"+", b" "))
        parts.add(name, content)


def _read_json(body: bytearray, parts: _Parts) -> None:
    """A flat object, name by name. json.loads would build all that a client may think of before it is looked at."""
    found = _JSON_START.match(body)
    while found:
        name = _JSON_NAME.match(body, found.end())
        if not name:
            break
        parts.begin(key := name[1].decode())
        if key in parts.files and body.startswith(b'"', name.end()):
            end = body.find(b'"', name.end() + 1)
            parts.add(key, _unescaped(bytes(body[name.end() + 1 : end]), b"\\", _JSON_ESCAPES))
            end += 1
        else:
            value = _JSON_STRING.match(body, name.end()) or _JSON_OTHER.match(body, name.end())
            if not value:
                if body.startswith(b'"', name.end()):
                    parts.add(key, bytes(body[name.end() : name.end() + _MAX_FIELD_BYTES + 1]))  # raises if it is long
                break
            try:
                content = json.loads(value[0].decode())
                text = content if isinstance(content, str) else value[0].decode().replace("null", "")
                parts.add(key, text.encode())
            except ValueError:  # bytes that are not UTF-8, a lone half of a character, -.e+
                break
            end = value.end()
        found = _JSON_NEXT.match(body, end)
        if found and not found[1]:
            return
    raise Problem(400, _NO_JSON)


def _unescaped(text: bytes, escape: bytes, signs: Mapping[bytes, bytes]) -> bytes:
    """Base64 without a form's escapes. Raises Problem for those that it does not need."""
    parts, start = [], 0
    while start < len(text):  # part by part: no other thread runs while one is replaced
        end = start + _PIECE_BYTES
        if len(text) > end > (last := text.rfind(escape, end - _MAX_ESCAPE, end)) > 0:
            end = last  # so that no escape is cut
        part = text[start:end]
        if escape in part:
            for escaped, sign in signs.items():
                part = part.replace(escaped, sign)
            if escape in part:
                raise Problem(400, _NO_FORM)
        parts.append(part)
        start = end
    return b"".join(parts)


def _read_multipart(body: bytearray, boundary: bytes, parts: _Parts) -> None:
    try:
        reader = _MultipartReader(boundary, parts)
        while body:
            reader.write(bytes(body[:_PIECE_BYTES]))
            del body[:_PIECE_BYTES]  # so that what was read is not in memory twice
    except FormParserError:
        raise Problem(400, "the multipart body is broken") from None
    reader.check_end()


class _MultipartReader:
    """Takes a multipart body piece by piece.

    Starlette's own parser was tried. It writes files of more than 1 MiB to a disk unless told otherwise, reads unknown
    and repeated parts to their end, takes a body that was cut short for an empty form, a file without a filename for
    text, and bytes that are not UTF-8 for Latin-1. Four of its eight callbacks, and private state, would be replaced.
    """

    def __init__(self, boundary: bytes, parts: _Parts) -> None:
        self._parts = parts
        self._name = ""
        self._header = self._value = self._disposition = b""
        self._is_over = False
        events = ["part_begin", "header_field", "header_value", "header_end", "headers_finished", "part_data", "end"]
        callbacks: Any = {f"on_{event}": getattr(self, f"_on_{event}") for event in events}
        self._parser = MultipartParser(boundary, callbacks)

    def write(self, chunk: bytes) -> None:
        """Take a piece. Raises Problem and FormParserError."""
        self._parser.write(chunk)

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
        self._parts.begin(self._name)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._parts.add(self._name, memoryview(data)[start:end])

    def _on_end(self) -> None:
        self._is_over = True
