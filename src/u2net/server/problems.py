"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from u2net.errors import InvalidImage, InvalidModel, NotEnoughRoom, U2NetError, UnsupportedFormat, reason

MEDIA_TYPE = "application/problem+json"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "description": "The meaning of the status code."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong, in one line."},
        "request_id": {"type": "string", "description": "As in the header X-Request-ID and the service's log."},
    },
}


class Problem(U2NetError):
    """A refusal: a status code and one line."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.members: dict[str, object] = {}
        self.headers = dict(headers or {})
        super().__init__(detail)

    def response(self, request_id: str) -> Response:
        """The document; caches must not keep it."""
        document = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": str(self),
            "request_id": request_id,
            **self.members,
        }
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(json.dumps(document), self.status, headers, MEDIA_TYPE)


class Busy(Problem):
    """A refusal for now; the client may try again."""

    def __init__(self, status: int, detail: str, retry_after_s: float = 1.0) -> None:
        super().__init__(status, detail, {"Retry-After": str(max(1, round(retry_after_s)))})


def to_problem(error: Exception) -> Problem:
    """What a client sees of an error. Faults of the service itself show no details."""
    match error:
        case Problem():
            return error
        case UnsupportedFormat():
            return Problem(415, reason(error))
        case InvalidImage():
            return Problem(422, reason(error))
        case NotEnoughRoom():
            return Busy(503, reason(error), 5)
        case InvalidModel() | MemoryError():
            return Busy(503, "the network could not be run, perhaps for lack of memory", 5)
        case RequestValidationError():
            first = error.errors()[0]
            return Problem(400, f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}")
        case HTTPException():
            return Problem(error.status_code, str(error.detail), error.headers)
    return Problem(500, "the service failed; its log has the details under this request id")


async def answer_problem(request: Request, error: Exception) -> Response:
    """Starlette's handler of exceptions."""
    problem = to_problem(error)
    if request.url.path.startswith("/v1.0/"):
        problem.members = {"errors": [{"title": str(problem)}]}  # where remove.bg's clients look
    return problem.response(request.state.request_id)
