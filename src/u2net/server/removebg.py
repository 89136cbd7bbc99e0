"""/v1.0/removebg and /v1.0/account: remove.bg's fields, headers and answers, as far as they mean something here.

https://www.remove.bg/api
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import threading
import zipfile
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, FastAPI, Request
from PIL import Image, ImageColor
from pydantic import Field, field_validator
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from u2net.cutout.background import Background, put_over
from u2net.cutout.finish import Finish
from u2net.cutout.outline import Outline
from u2net.cutout.remove import cut_out
from u2net.images import Format
from u2net.images.limits import Limits
from u2net.images.load import load_image
from u2net.images.picture import Picture
from u2net.images.save import encode
from u2net.inference.session import Session
from u2net.server.api import admit, answer, service_of, take_url
from u2net.server.forms import Form, read_form
from u2net.server.geometry import Place, place, region, scaled, shown_box
from u2net.server.parameters import FORMATS, Asked, answers, check, describe
from u2net.server.problems import Problem
from u2net.server.service import Made

_MEGAPIXELS = {"preview": 0.25, "small": 0.25, "regular": 0.25, "medium": 1.5, "hd": 4.0, "50MP": 50.0}
_CREDITS = 1_000_000  # Nothing is metered, and infinity is no JSON. Clients send nothing if there are none.
_ONE_AT_A_TIME = threading.Lock()  # base64 is decoded in one step, in which no other thread runs
_Kind = Literal[
    "auto",
    "person",
    "product",
    "animal",
    "car",
    "car_interior",
    "car_part",
    "transportation",
    "graphic",
    "graphics",
    "other",
]
_FILES = {
    "image_file": "The picture.",
    "image_file_b64": "The picture in base64, instead.",
    "bg_image_file": "A picture to put behind the subject.",
}


class RemoveBgAsked(Asked):
    """Of /v1.0/removebg."""

    image_url: str | None = None
    """URL of the picture; only where the service allows its host."""
    size: Literal["preview", "small", "regular", "medium", "hd", "full", "4k", "50MP", "auto"] = "preview"
    """Largest size of the answer: 0.25 megapixels for preview, small and regular, 1.5 for medium, 4 for hd; full, 4k
    and auto leave the picture's own."""
    type: _Kind = "auto"
    """Kind of the subject, as a hint: there is one model for all. `X-Type` repeats it, and is other for auto."""
    type_level: Literal["none", "1", "2", "latest"] = "1"
    """How finely kinds are told; none leaves `X-Type` out."""
    format: Literal["auto", "png", "jpg", "webp", "zip"] = "auto"
    """auto is png if anything is transparent, else jpg; zip holds color.jpg and alpha.png."""
    roi: str | None = None
    """Where the subject is, as x1 y1 x2 y2, each in px or %; all else is background."""
    crop: bool = False
    """Cut off what is empty around the subject."""
    crop_margin: str | None = None
    """What `crop` leaves around it: one, two or four lengths in px or %, as in CSS."""
    scale: str = "original"
    """How large the subject is in the picture: original, or 10% to 100% of what fits."""
    position: str | None = None
    """Where the subject is in the picture: original, center, or 0% to 100% across and down, in one or two values;
    center if `scale` is given."""
    channels: Literal["rgba", "alpha"] = "rgba"
    """alpha for the mask alone."""
    add_shadow: Literal["false"] = "false"
    """Shadows of cars."""
    shadow_type: Literal["none"] = "none"
    """Kind of the shadow."""
    shadow_opacity: float = Field(0, ge=0, le=100)
    """Of the shadow, in percent; means nothing without one."""
    semitransparency: Literal["true"] = "true"
    """Windows of cars."""
    bg_color: str | None = None
    """Colour to put behind the subject: a name, or 3, 4, 6 or 8 hexadecimal digits."""
    bg_image_url: str | None = None
    """URL of a picture to put behind the subject."""

    @field_validator("bg_color")
    @classmethod
    def _is_color(cls, text: str | None) -> str | None:
        if text is not None:
            _color(text)
        return text


def add_routes(app: FastAPI) -> None:
    """Give an application the endpoints."""
    router = APIRouter(tags=["pictures"])

    @router.post(
        "/v1.0/removebg",
        summary="Cut the subject out, by remove.bg's fields",
        response_class=Response,
        responses=answers("image/png", "image/jpeg", "image/webp", "application/zip", "application/json"),
        openapi_extra=describe(RemoveBgAsked, _FILES, ()),
    )
    async def remove_bg(request: Request) -> Response:
        """Fields may come as a form or as JSON. Fields that this service cannot obey are refused, not ignored."""
        admit(request)
        form = await read_form(request, _FILES, RemoveBgAsked.model_fields, takes_json=True)
        asked = check(RemoveBgAsked, form.fields)
        where = place(asked.scale, asked.position)
        picture = await _one_of(request, form, "image_file", "image_file_b64", "image_url")
        if picture is None:
            raise Problem(400, "give image_file, image_file_b64 or image_url")
        behind = await _one_of(request, form, "bg_image_file", "bg_image_url")
        if behind and asked.bg_color:
            raise Problem(400, "give bg_color or a background picture, not both")
        limits = service_of(request).config.limits
        # A picture behind needs room too, of which there is as much as for a picture of this size.
        limits = replace(limits, max_pixels=-(-limits.max_pixels // 4))
        in_json = "application/json" in request.headers.get("accept", "")
        make = partial(_made, asked, where, behind, limits, in_json)
        return await answer(request, picture, None, make, limits.max_pixels if behind else 0)

    @router.get("/v1.0/account", summary="Credits, by remove.bg's fields")
    async def account(request: Request) -> dict[str, Any]:
        """Always the same: pictures cost nothing here."""
        request.app.state.keys.admit(request)
        credits_left = {"total": _CREDITS, "subscription": 0, "payg": 0, "enterprise": _CREDITS}
        return {"data": {"attributes": {"credits": credits_left, "api": {"free_calls": _CREDITS, "sizes": "all"}}}}

    app.include_router(router)


async def _one_of(request: Request, form: Form, *names: str) -> bytes | None:
    """What was given by one of these names: a file, a file in base64, or a URL's content; None if nothing was."""
    given = [name for name in names if name in form.files or name in form.fields]
    if len(given) > 1:
        raise Problem(400, f"give one of {', '.join(names[:-1])} or {names[-1]}")
    if not given:
        return None
    if given[0] in form.fields:
        return await take_url(request, form.fields[given[0]])
    content = form.files.pop(given[0])
    if not given[0].endswith("_b64"):
        return content
    try:
        return await run_in_threadpool(_from_base64, content)
    except binascii.Error:
        raise Problem(400, f"{given[0]} is not base64") from None


def _from_base64(text: bytes) -> bytes:
    with _ONE_AT_A_TIME:
        return base64.b64decode(text.partition(b";base64,")[2] or text)


def _color(text: str) -> tuple[int, int, int, int]:
    digits = text.removeprefix("#")
    try:
        color = ImageColor.getcolor(digits if digits.lower() in ImageColor.colormap else f"#{digits}", "RGBA")
    except ValueError:
        raise ValueError("is a name, or 3, 4, 6 or 8 hexadecimal digits") from None
    assert isinstance(color, tuple)
    red, green, blue, alpha = color
    return red, green, blue, alpha


def _made(
    asked: RemoveBgAsked,
    where: Place | None,
    behind: bytes | None,
    limits: Limits,
    in_json: bool,
    picture: Picture,
    session: Session,
) -> Made:
    """The answer, of a decoded picture; `limits` are those of the one behind."""
    box = None if asked.roi is None else region(asked.roi, picture.size)
    size, picture = picture.size, _shrunk(picture, asked.size)
    if box is not None:
        box = scaled(box, size, picture.size)
    background: Background | None = None
    if asked.format != "zip":
        background = (_color(asked.bg_color),) if asked.bg_color else load_image(behind, limits) if behind else None
    crop = partial(shown_box, asked.crop_margin or "0px") if asked.crop else None
    finish = Finish(crop=crop, only_mask=asked.channels == "alpha", clean=True, background=background)
    if where is not None:
        finish = replace(finish, crop=None, background=None)  # which come after the subject has its place
    image = cut_out(picture, session, Outline(), finish, region=box, in_place=True)
    assert isinstance(image, Image.Image)
    if where is not None:
        image = where.put(image)
        if crop is not None:
            image = image.crop(crop(np.asarray(image.getchannel(image.getbands()[-1]))))
        if background is not None and image.mode == "RGBA":
            image = put_over(background, image, picture)
    content, media_type = _encoded(image, picture, asked.format)
    if in_json:
        text = base64.b64encode(content).decode()
        content = json.dumps({"data": {"result_b64": text}}, separators=(",", ":")).encode()
        media_type = "application/json"
    headers = {"X-Width": str(image.width), "X-Height": str(image.height), "X-Credits-Charged": "0"}
    if asked.type_level != "none":
        headers["X-Type"] = "other" if asked.type == "auto" else asked.type
    return Made(content, media_type, headers)


def _encoded(image: Image.Image, picture: Picture, name: Format | Literal["auto", "zip"]) -> tuple[bytes, str]:
    """A result in a format, and its media type."""
    printed: dict[str, Any] = {"icc_profile": picture.icc_profile, "dpi": picture.dpi}
    if name == "zip":
        if image.mode != "RGBA":
            raise Problem(400, "zip has colours and alpha: leave channels at rgba, or choose another format")
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("color.jpg", encode(image.convert("RGB"), "jpg", **printed))
            archive.writestr("alpha.png", encode(image.getchannel("A"), "png", dpi=picture.dpi))
        return file.getvalue(), "application/zip"
    is_transparent = image.mode == "RGBA" and image.getchannel("A").getextrema()[0] != 255
    if name == "auto":
        name = "png" if is_transparent or image.mode != "RGBA" else "jpg"
    if name == "jpg" and is_transparent:
        image = put_over(((255, 255, 255, 255),), image, picture)
    return encode(image, name, **printed), FORMATS[name]


def _shrunk(picture: Picture, size: str) -> Picture:
    width, height = picture.size
    scale = math.sqrt(_MEGAPIXELS.get(size, math.inf) * 1e6 / (width * height))
    if scale >= 1:
        return picture
    smaller = (max(1, int(width * scale)), max(1, int(height * scale)))
    alpha = None if picture.alpha is None else picture.alpha.resize(smaller, Image.Resampling.BOX)
    return replace(picture, rgb=picture.rgb.resize(smaller, Image.Resampling.LANCZOS, reducing_gap=3), alpha=alpha)
