"""/api/remove with rembg's parameters, and /api/mask."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from u2net.cutout.config import CutoutConfig
from u2net.cutout.remove import cut_out
from u2net.images.picture import Picture
from u2net.images.save import encode
from u2net.inference.session import Session
from u2net.server.fetch import fetch
from u2net.server.forms import Form, read_form
from u2net.server.parameters import (
    FORMATS,
    FetchAsked,
    MaskAsked,
    RemoveAsked,
    answers,
    describe,
    describe_query,
    parse,
)
from u2net.server.problems import Problem
from u2net.server.service import Finish, Made, Service, Task

_MATTING_ROOM = 3  # times a picture's own: closed form takes some 50 bytes for each of its pixels


def service_of(request: Request) -> Service:
    """The service behind an application."""
    service: Service = request.app.state.service
    return service


def admit(request: Request) -> None:
    """Refuse what would be refused later, before the body is read: 503, 401, 429."""
    name = request.app.state.keys.admit(request)
    if name is not None:
        request.state.facts = {"key": name}
    service_of(request).check()


async def take_url(request: Request, url: str) -> bytes:
    """What is behind a URL, which takes the room that the request has left. Raises Problem, as `fetch` does."""
    config, hold = service_of(request).config, request.state.body
    max_bytes = min(config.max_bytes, config.max_body - hold.num_taken)
    return await fetch(url, config.fetch_hosts, max(0, max_bytes), hold.take)


async def answer(
    request: Request, data: bytes | None, model: str | None, finish: Finish, num_more_pixels: int = 0
) -> Response:
    """What becomes of a picture, with the time of each stage in Server-Timing.

    `num_more_pixels` are those of other pictures that `finish` decodes.
    """
    if not data:
        raise Problem(400, "there is no picture in the request")
    service = service_of(request)
    if len(data) > service.config.max_bytes:
        raise Problem(413, f"a picture may have {service.config.max_bytes:,} bytes")
    task = Task(request.state.answer)
    chosen = service.model(model)
    made = await service.run(data, chosen, finish, task, num_more_pixels)
    stages = {stage: round(seconds * 1000, 1) for stage, seconds in task.seconds.items()}
    request.state.facts = getattr(request.state, "facts", {}) | {"model": chosen, "stages_ms": stages}
    timing = ", ".join(f"{stage};dur={ms}" for stage, ms in stages.items())
    headers = {"Cache-Control": "no-store", "Server-Timing": timing, **made.headers}
    return Response(made.content, headers=headers, media_type=made.media_type)


def add_routes(app: FastAPI) -> None:
    """Give an application these endpoints."""
    config = app.state.service.config
    models = tuple(config.offered)
    router = APIRouter(tags=["pictures"])

    def made_of(cutout: CutoutConfig) -> tuple[Finish, int]:
        """What makes the answer, and how many more pixels it takes room for."""
        finish = partial(_removed, cutout, config.max_matting_pixels)
        return finish, _MATTING_ROOM * config.max_matting_pixels if cutout.alpha_matting else 0

    async def answer_upload(kind: type[RemoveAsked | MaskAsked], request: Request, **more: bool) -> Response:
        admit(request)
        form = await read_form(request, file, kind.model_fields)
        asked = parse(kind, request, form)
        return await answer(request, form.files.get("file"), asked.model, *made_of(asked.config(**more)))

    file = {"file": "The picture: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, PNM or HEIC."}

    @router.post(
        "/api/remove",
        summary="Cut the subject out",
        response_class=Response,
        responses=answers(*FORMATS.values()),
        openapi_extra=describe(RemoveAsked, file, models),
    )
    async def remove(request: Request) -> Response:
        """Takes rembg's parameters, in the form or in the query. A picture may also be the body itself."""
        return await answer_upload(RemoveAsked, request)

    @router.post(
        "/api/mask",
        summary="The subject's mask",
        response_class=Response,
        responses=answers("image/png", "image/webp"),
        openapi_extra=describe(MaskAsked, file, models),
    )
    async def mask(request: Request) -> Response:
        """Grey, 255 where the subject is, of the picture's size once it is upright."""
        return await answer_upload(MaskAsked, request, only_mask=True)

    if config.fetch_hosts:

        @router.get(
            "/api/remove",
            summary="Cut the subject out of a picture that is fetched",
            response_class=Response,
            responses=answers(*FORMATS.values()),
            openapi_extra={"parameters": describe_query(FetchAsked, models)},
        )
        async def remove_fetched(request: Request) -> Response:
            """From hosts that the service allows."""
            admit(request)
            given = parse(FetchAsked, request, Form())
            made = made_of(given.config())
            async for _ in request.stream():
                pass  # its end is where it begins to be noticed that the client has gone
            data = await take_url(request, given.url)
            return await answer(request, data, given.model, *made)

    else:

        @router.get("/api/remove", include_in_schema=False)
        async def fetch_nothing() -> None:
            """Say what would make it possible."""
            raise Problem(
                405,
                "pictures are fetched by url only if the service is started with --fetch-hosts HOST; "
                "or send the picture itself, with POST",
                {"Allow": "POST"},
            )

    app.include_router(router)


def _removed(config: CutoutConfig, max_matting_pixels: int, picture: Picture, session: Session) -> Made:
    """The cut-out or mask that was asked for."""
    width, height = picture.size
    if config.alpha_matting and width * height > max_matting_pixels:
        raise Problem(422, f"a: alpha matting is for {max_matting_pixels:,} pixels at most, ask for quality=best")
    image = cut_out(picture, session, config.outline, config.finish, in_place=True)
    return Made(encode(image, config.format, picture.icc_profile, dpi=picture.dpi), FORMATS[config.format])
