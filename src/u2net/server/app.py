"""The application: endpoints, the page at `/`, the middleware around them, and what happens at start and end.

The endpoints about the service itself are here: /healthz, /readyz, /metrics, /version.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from u2net import __version__
from u2net.errors import U2NetError
from u2net.inference.open import new_session
from u2net.inference.session import Session
from u2net.models.table import MODELS
from u2net.page import page_files
from u2net.server import api, removebg
from u2net.server.api import service_of
from u2net.server.auth import Keys
from u2net.server.config import ServerConfig
from u2net.server.middleware import Head, Lifetime, Watch
from u2net.server.monitoring import CONTENT_TYPE
from u2net.server.origins import share
from u2net.server.problems import Problem, answer_problem
from u2net.server.service import Service
from u2net.system.process import trim_heaps

_EXPECTED = (U2NetError, MemoryError, HTTPException, RequestValidationError)
_PROBE_S = 0.1  # between two measurements of how late the event loop is
_TRIM_S = 10.0  # as imgproxy does
_PAGE_HEADERS = {
    # The page may load and call what comes from here, and nothing else.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self' blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",  # after an update, modules of two versions must not mix
}
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


_about = APIRouter(tags=["about the service"])


@_about.get("/healthz", summary="Whether the process is alive")
async def healthz() -> dict[str, str]:
    """200 as long as the process answers at all."""
    return {"status": "alive"}


@_about.get("/readyz", summary="Whether pictures are accepted", responses={503: {"description": "Not now."}})
async def readyz(request: Request) -> dict[str, str]:
    """200 when the models are open, and queue and memory have room; otherwise, and once the service drains, 503."""
    try:
        service_of(request).check()
        service_of(request).check_room()
    except Problem as problem:
        raise Problem(503, str(problem), problem.headers) from None
    return {"status": "ready"}


@_about.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """In Prometheus' text format."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)


@_about.get("/version", summary="Version, models and limits")
async def version(request: Request) -> dict[str, Any]:
    """What a client may want to know before it sends a picture; what models with a name are for."""
    config = service_of(request).config
    purposes = {name: MODELS[model].purpose for name, model in config.offered.items() if model in MODELS}
    limits = {"bytes": config.max_bytes, "pixels": config.max_pixels, "side": config.max_side}
    return {"version": __version__, "models": list(config.offered), "purposes": purposes, "limits": limits}


def new_app(config: ServerConfig, open_model: Callable[..., Session] = new_session) -> FastAPI:
    """The application of a configuration; `open_model` as `Service` takes it."""
    service = Service(config, open_model)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if not service.is_open:
            await asyncio.to_thread(service.open)
        tasks = [asyncio.create_task(_measure_lag(service)), asyncio.create_task(_trim())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.to_thread(service.close)

    bounds = [Middleware(Watch, service=service), Middleware(Lifetime, service=service), Middleware(Head)]
    app = FastAPI(
        title="u2net",
        version=__version__,
        description="Cuts subjects out of pictures. Errors are RFC 9457 problem documents.",
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # to an address that is made of what the client says
        middleware=share(config.cors_origins, bounds),
        exception_handlers=dict.fromkeys(_EXPECTED, answer_problem),
    )
    app.state.service = service
    app.state.keys = Keys(config)
    app.include_router(_about)
    api.add_routes(app)
    removebg.add_routes(app)
    # A route for each file of the page, so that all other paths are what they are without it.
    for name, path in page_files("service").items():
        route = "/" if name == "index.html" else f"/{name}"
        app.add_route(route, _file_endpoint(path), methods=["GET"], include_in_schema=False)
    return app


def _file_endpoint(path: Path) -> Callable[[Request], Awaitable[Response]]:
    content = path.read_bytes()

    # Starlette's FileResponse would answer ranges, and refuse wrong ones in plain text.
    async def endpoint(_request: Request) -> Response:
        return Response(content, headers=_PAGE_HEADERS, media_type=_MEDIA_TYPES[path.suffix])

    return endpoint


async def _measure_lag(service: Service) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _PROBE_S
        await asyncio.sleep(_PROBE_S)
        service.metrics.lag_seconds.observe(max(0.0, loop.time() - due))


async def _trim() -> None:
    while True:
        await asyncio.sleep(_TRIM_S)
        await asyncio.to_thread(trim_heaps)
