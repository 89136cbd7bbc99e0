"""The HTTP service. Needs the extra `serve`; `create_app` is an ASGI application's factory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from u2net.errors import MissingExtra
from u2net.server.config import ServerConfig

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["ServerConfig", "create_app"]


def create_app(config: ServerConfig | None = None) -> FastAPI:
    """The application; without a configuration that of the environment, so that `uvicorn --factory` finds it.

    Models are opened when the server starts it. Raises MissingExtra, ValueError for a configuration that makes no
    sense, OSError for a file of keys that cannot be read.
    """
    try:
        from u2net.server.app import new_app
    except ImportError as error:
        raise MissingExtra(f"the service needs: pip install 'u2net[serve]' ({error.name} is missing)") from None
    return new_app(config or ServerConfig.from_environment())
