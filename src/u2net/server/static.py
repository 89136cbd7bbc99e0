"""The page at `/`: the files of the package's folder `page`, as they are."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' blob:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class _Page(StaticFiles):
    """Files that may load and call what comes from here, and nothing else."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, with its policy."""
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Cache-Control"] = "no-cache"  # after an update no module must meet one of another version
        return response


def mount_page(app: FastAPI) -> None:
    """Answer what no endpoint does from the folder; a package may be built without it."""
    folder = Path(str(files("u2net.server").joinpath("page")))
    if folder.is_dir():
        app.mount("/", _Page(directory=folder, html=True), name="page")
