"""CORS: what pages of other origins may ask of the service from a browser.

Starlette's middleware, in two places: refusals that come from outside of one in the middle would lack its headers, and
a preflight that is answered outside of `Lifetime` would have no limits.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from u2net.server.problems import Problem

_ALLOWED: dict[str, Any] = {
    "allow_methods": ("GET", "HEAD", "POST"),
    "allow_headers": ("Authorization", "X-Api-Key", "X-Request-ID"),
    "expose_headers": (
        *("Retry-After", "Server-Timing", "X-Request-ID", "X-Type", "X-Width", "X-Height", "X-Credits-Charged"),
    ),
}


def share(origins: Collection[str], bounds: list[Middleware]) -> list[Middleware]:
    """The middleware `bounds`, and what lets pages of these origins through them."""
    if not origins:
        return bounds
    allowed = {"allow_origins": origins, **_ALLOWED}
    return [Middleware(Answers, **allowed), *bounds, Middleware(Preflight, **allowed)]


class Answers(CORSMiddleware):
    """Middleware around all other, so that pages of named origins may read every answer, refusals and faults too."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await self.simple_response(scope, receive, send, request_headers=Headers(scope=scope))


class Preflight(CORSMiddleware):
    """Innermost middleware, so that a browser's question whether it may send has the limits of every request."""

    async def simple_response(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request_headers: Headers,  # noqa: ARG002
    ) -> None:
        """Leave all other requests to the application; `Answers` sees to what comes back."""
        await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """What may be sent. Raises Problem for an origin, a method or a header that may not."""
        response = super().preflight_response(request_headers)
        if response.status_code >= 400:
            raise Problem(response.status_code, bytes(response.body).decode())
        return response
