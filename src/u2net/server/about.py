"""Endpoints about the service itself: /healthz, /readyz, /metrics, /version."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from u2net import __version__
from u2net.server.monitoring import CONTENT_TYPE
from u2net.server.problems import Problem
from u2net.server.service import Service

router = APIRouter(tags=["about the service"])


@router.get("/healthz", summary="Whether the process is alive")
async def healthz() -> dict[str, str]:
    """200 as long as the process answers at all."""
    return {"status": "alive"}


@router.get("/readyz", summary="Whether pictures are accepted", responses={503: {"description": "Not now."}})
async def readyz(request: Request) -> dict[str, str]:
    """200 when the models are open and the queue has room; otherwise, and once the service drains, 503."""
    try:
        service_of(request).check()
    except Problem as problem:
        raise Problem(503, str(problem), problem.headers) from None
    return {"status": "ready"}


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """In Prometheus' text format."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/version", summary="Version, models and limits")
async def version(request: Request) -> dict[str, Any]:
    """What a client may want to know before it sends a picture."""
    config = service_of(request).config
    limits = {"bytes": config.max_bytes, "pixels": config.max_pixels, "side": config.max_side}
    return {"version": __version__, "models": list(config.offered), "limits": limits}


def service_of(request: Request) -> Service:
    """The service behind an application."""
    service: Service = request.app.state.service
    return service
