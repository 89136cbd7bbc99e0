"""The application: endpoints, the middleware around them, and what happens at the beginning and the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from u2net import __version__
from u2net.errors import U2NetError
from u2net.inference.open import new_session
from u2net.inference.session import Session
from u2net.server import about, api, removebg
from u2net.server.auth import Keys
from u2net.server.config import ServerConfig
from u2net.server.middleware import Lifetime
from u2net.server.problems import answer_problem
from u2net.server.service import Service
from u2net.server.static import add_page
from u2net.server.watch import Watch
from u2net.system import trim_heaps

_EXPECTED = (U2NetError, MemoryError, HTTPException, RequestValidationError)
_PROBE_S = 0.1  # between two looks at how late the event loop is
_TRIM_S = 10.0  # as imgproxy does


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

    app = FastAPI(
        title="u2net",
        version=__version__,
        description="Cuts subjects out of pictures. Errors are RFC 9457 problem documents.",
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        middleware=[Middleware(Watch, service=service), Middleware(Lifetime, service=service)],
        exception_handlers=dict.fromkeys(_EXPECTED, answer_problem),
    )
    app.state.service = service
    app.state.keys = Keys(config)
    app.include_router(about.router)
    api.add_routes(app)
    removebg.add_routes(app)
    add_page(app)
    return app


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
