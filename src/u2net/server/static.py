"""The page at `/`: the files of the package's folder `page`, as they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse

_INDEX = "index.html"
_HEADERS = {
    # Files that may load and call what comes from here, and nothing else.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self' blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",  # after an update no module must meet one of another version
}
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def add_page(app: FastAPI) -> None:
    """Give an application a route for each file, so that all other paths stay what they are without the page."""
    for path in sorted(Path(str(files("u2net.server").joinpath("page"))).iterdir()):
        route = "/" if path.name == _INDEX else f"/{path.name}"
        app.add_route(route, _answering(path), methods=["GET"], include_in_schema=False)


def _answering(path: Path) -> Callable[[Request], Awaitable[FileResponse]]:
    async def answer(_request: Request) -> FileResponse:
        return FileResponse(path, headers=_HEADERS, media_type=_MEDIA_TYPES[path.suffix])

    return answer
