"""POST /v1.0/removebg: remove.bg's fields, headers and answers, as far as they mean something here.

https://www.remove.bg/api
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import re
import zipfile
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from fastapi import APIRouter, FastAPI, Request
from PIL import Image, ImageColor
from pydantic import field_validator
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from u2net.cutout.background import Background, put_over
from u2net.cutout.finish import Box, Finish
from u2net.cutout.outline import Outline
from u2net.cutout.remove import cut_out
from u2net.images import Format
from u2net.images.load import Limits, load_image
from u2net.images.picture import Levels, Picture
from u2net.images.save import encode
from u2net.inference.session import Session
from u2net.server.about import service_of
from u2net.server.api import admit, answer, take_url
from u2net.server.forms import Form, read_form
from u2net.server.parameters import FORMATS, Asked, answers, check, describe
from u2net.server.problems import Problem
from u2net.server.service import Made

_MEGAPIXELS = {"preview": 0.25, "small": 0.25, "regular": 0.25, "medium": 1.5, "hd": 4.0, "50MP": 50.0}
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
    type: Literal["auto"] = "auto"
    """Kind of the subject; there is one model for all."""
    format: Literal["auto", "png", "jpg", "webp", "zip"] = "auto"
    """auto is png if anything is transparent, else jpg; zip holds color.jpg and alpha.png."""
    roi: str | None = None
    """Where the subject is, as x1 y1 x2 y2, each in px or %; all else is background."""
    crop: bool = False
    """Cut off what is empty around the subject."""
    crop_margin: str | None = None
    """What `crop` leaves around it: one, two or four lengths in px or %, as in CSS."""
    scale: Literal["original"] = "original"
    """How large the subject is in the picture."""
    position: Literal["original"] = "original"
    """Where the subject is in the picture."""
    channels: Literal["rgba", "alpha"] = "rgba"
    """alpha for the mask alone."""
    add_shadow: Literal["false"] = "false"
    """Shadows of cars."""
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
    """Give an application the endpoint."""
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
        form = await _read(request)
        asked = check(RemoveBgAsked, form.fields)
        picture = await _one_of(
            request,
            "image_file, image_file_b64 or image_url",
            form.files.get("image_file"),
            form.files.get("image_file_b64"),
            asked.image_url,
        )
        if picture is None:
            raise Problem(400, "give image_file, image_file_b64 or image_url")
        behind = await _one_of(
            request, "bg_image_file or bg_image_url", form.files.get("bg_image_file"), None, asked.bg_image_url
        )
        if behind and asked.bg_color:
            raise Problem(400, "give bg_color or a background picture, not both")
        limits = service_of(request).config.limits
        # A picture behind needs room too, of which there is as much as for a picture of this size.
        limits = replace(limits, max_pixels=-(-limits.max_pixels // 4))
        answered = await answer(
            request, picture, None, partial(_made, asked, behind, limits), limits.max_pixels if behind else 0
        )
        if "application/json" not in request.headers.get("accept", ""):
            return answered
        result = await run_in_threadpool(lambda: base64.b64encode(answered.body).decode())
        kept = {
            name: value for name, value in answered.headers.items() if name not in ("content-length", "content-type")
        }
        return JSONResponse({"data": {"result_b64": result}}, headers=kept)

    app.include_router(router)


async def _read(request: Request) -> Form:
    """A form, or the same as JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return await read_form(request, _FILES, RemoveBgAsked.model_fields)
    body = await request.body()
    try:
        given = await run_in_threadpool(json.loads, body)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is no JSON") from None
    if not isinstance(given, dict) or not all(isinstance(value, str | bool | None) for value in given.values()):
        raise Problem(400, "the body is no JSON object of strings")
    texts = {
        name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items() if value != ""
    }
    files = {"image_file_b64": texts.pop("image_file_b64").encode()} if texts.get("image_file_b64") else {}
    return Form({name: value for name, value in texts.items() if value is not None}, files)


async def _one_of(
    request: Request, names: str, file: bytes | None, encoded_file: bytes | None, url: str | None
) -> bytes | None:
    """The content that was given in one of these ways, or None."""
    if sum(1 for given in (file, encoded_file, url) if given) > 1:
        raise Problem(400, f"give one of {names}")
    if url:
        return await take_url(request, url)
    if encoded_file:
        try:
            return await run_in_threadpool(base64.b64decode, encoded_file.partition(b";base64,")[2] or encoded_file)
        except binascii.Error:
            raise Problem(400, "image_file_b64 is not base64") from None
    return file


def _color(text: str) -> tuple[int, int, int, int]:
    digits = text.removeprefix("#")
    try:
        color = ImageColor.getcolor(digits if digits.isalpha() and not _is_hex(digits) else f"#{digits}", "RGBA")
    except ValueError:
        raise ValueError("is a name, or 3, 4, 6 or 8 hexadecimal digits") from None
    assert isinstance(color, tuple)
    red, green, blue, alpha = color
    return red, green, blue, alpha


def _is_hex(text: str) -> bool:
    return len(text) in (3, 4, 6, 8) and all(digit in "0123456789abcdefABCDEF" for digit in text)


@dataclass(frozen=True)
class _Margins:
    """A crop to all that shows, with margins in remove.bg's notation, as far as the picture reaches."""

    text: str

    def __call__(self, opacity: Levels) -> Box:
        shown = Image.fromarray(opacity)
        box = shown.getbbox()
        if box is None:
            return 0, 0, *shown.size
        left, top, right, bottom = box
        try:
            before = margins(self.text, (right - left, bottom - top))
        except ValueError as error:
            raise Problem(400, f"crop_margin {error}") from None
        width, height = shown.size
        return (
            max(0, left - before[0]),
            max(0, top - before[1]),
            min(width, right + before[2]),
            min(height, bottom + before[3]),
        )


def _made(asked: RemoveBgAsked, behind: bytes | None, limits: Limits, picture: Picture, session: Session) -> Made:
    """The answer, of a decoded picture; `limits` are those of the one behind."""
    picture = _shrunk(picture, asked.size)
    try:
        box = None if asked.roi is None else region(asked.roi, picture.size)
    except ValueError as error:
        raise Problem(400, f"roi {error}") from None
    background: Background | None = None
    if asked.format != "zip":
        background = (_color(asked.bg_color),) if asked.bg_color else load_image(behind, limits) if behind else None
    finish = Finish(
        crop=_Margins(asked.crop_margin or "0px") if asked.crop else None,
        only_mask=asked.channels == "alpha",
        background=background,
    )
    image = cut_out(picture, session, Outline(), finish, region=box, in_place=True)
    assert isinstance(image, Image.Image)
    size = {"X-Width": str(image.width), "X-Height": str(image.height), "X-Credits-Charged": "0"}
    if asked.format == "zip":
        return replace(_zipped(image, picture.icc_profile), headers=size)
    name: Format = "png" if asked.format == "auto" else asked.format
    is_opaque = image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 255
    if asked.format == "auto" and is_opaque:
        name = "jpg"
    if name == "jpg" and image.mode == "RGBA" and not is_opaque:
        image = put_over(((255, 255, 255, 255),), image, picture)
    return Made(encode(image, name, picture.icc_profile), FORMATS[name], size)


def _shrunk(picture: Picture, size: str) -> Picture:
    width, height = picture.size
    scale = math.sqrt(_MEGAPIXELS.get(size, math.inf) * 1e6 / (width * height))
    if scale >= 1:
        return picture
    smaller = (max(1, int(width * scale)), max(1, int(height * scale)))
    alpha = None if picture.alpha is None else picture.alpha.resize(smaller, Image.Resampling.BOX)
    return Picture(picture.rgb.resize(smaller, Image.Resampling.LANCZOS, reducing_gap=3), alpha, picture.icc_profile)


def _zipped(image: Image.Image, icc_profile: bytes | None) -> Made:
    if image.mode != "RGBA":
        raise Problem(400, "zip has colours and alpha: leave channels at rgba, or choose another format")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("color.jpg", encode(image.convert("RGB"), "jpg", icc_profile))
        archive.writestr("alpha.png", encode(image.getchannel("A"), "png"))
    return Made(file.getvalue(), "application/zip")


_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(px|%)", re.ASCII)


def lengths(text: str) -> list[tuple[float, bool]]:
    """Numbers, each with whether it is a percentage. Raises ValueError for anything else."""
    found = [_LENGTH.fullmatch(part) for part in text.split()]
    parts = [(float(match[1]), match[2] == "%") for match in found if match]
    if not parts or len(parts) < len(found):
        raise ValueError("is not in px or %")
    return parts


def region(text: str, size: tuple[int, int]) -> Box:
    """The rectangle "x1 y1 x2 y2" of a picture of a size. Raises ValueError if it holds no pixel of it."""
    parts = lengths(text)
    if len(parts) != 4:
        raise ValueError("is x1 y1 x2 y2")
    x1, y1, x2, y2 = (
        round(number * whole / 100) if is_percentage else round(number)
        for (number, is_percentage), whole in zip(parts, (*size, *size), strict=True)
    )
    left, right = sorted((min(x1, size[0]), min(x2, size[0])))
    top, bottom = sorted((min(y1, size[1]), min(y2, size[1])))
    if left == right or top == bottom:
        raise ValueError("holds no pixel of the picture")
    return left, top, right, bottom


def margins(text: str, size: tuple[int, int]) -> Box:
    """Left, top, right and bottom margin of a subject of a size, from CSS's one, two or four lengths.

    Raises ValueError for other numbers of them, more than 50 % and more than 500 pixels, which are remove.bg's limits.
    """
    parts = lengths(text)
    if len(parts) not in (1, 2, 4):
        raise ValueError("is one, two or four lengths")
    top, right, bottom, left = parts * (4 // len(parts))
    width, height = size

    def pixels(length: tuple[float, bool], whole: int) -> int:
        number, is_percentage = length
        if number > (50 if is_percentage else 500):
            raise ValueError("is 50% or 500px at most")
        return round(number * whole / 100) if is_percentage else round(number)

    return pixels(left, width), pixels(top, height), pixels(right, width), pixels(bottom, height)
