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
from dataclasses import replace
from functools import partial
from typing import Literal

from fastapi import APIRouter, FastAPI, Request
from PIL import Image, ImageColor
from pydantic import field_validator
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from u2net.cutout.background import Background, put_over
from u2net.cutout.finish import Box, Finish
from u2net.cutout.outline import Outline
from u2net.cutout.remove import cut_out
from u2net.images import Format
from u2net.images.limits import Limits
from u2net.images.load import load_image
from u2net.images.picture import Levels, Picture
from u2net.images.save import encode
from u2net.inference.session import Session
from u2net.server.api import admit, answer, service_of, take_url
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
        make = partial(_made, asked, behind, limits, in_json)
        return await answer(request, picture, None, make, limits.max_pixels if behind else 0)

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


async def _one_of(request: Request, form: Form, *names: str) -> bytes | None:
    """What was given by one of these names: a file, a file in base64, or a URL's content; None if nothing was."""
    given = [name for name in names if name in form.files or name in form.fields]
    if len(given) > 1:
        raise Problem(400, f"give one of {', '.join(names[:-1])} or {names[-1]}")
    if not given:
        return None
    if given[0] in form.fields:
        return await take_url(request, form.fields[given[0]])
    content = form.files[given[0]]
    if not given[0].endswith("_b64"):
        return content
    try:
        return await run_in_threadpool(base64.b64decode, content.partition(b";base64,")[2] or content)
    except binascii.Error:
        raise Problem(400, f"{given[0]} is not base64") from None


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
    asked: RemoveBgAsked, behind: bytes | None, limits: Limits, in_json: bool, picture: Picture, session: Session
) -> Made:
    """The answer, of a decoded picture; `limits` are those of the one behind."""
    picture = _shrunk(picture, asked.size)
    box = None if asked.roi is None else region(asked.roi, picture.size)
    background: Background | None = None
    if asked.format != "zip":
        background = (_color(asked.bg_color),) if asked.bg_color else load_image(behind, limits) if behind else None
    finish = Finish(
        crop=partial(_subject_box, asked.crop_margin or "0px") if asked.crop else None,
        only_mask=asked.channels == "alpha",
        background=background,
    )
    image = cut_out(picture, session, Outline(), finish, region=box, in_place=True)
    assert isinstance(image, Image.Image)
    content, media_type = _encoded(image, picture, asked.format)
    if in_json:
        text = base64.b64encode(content).decode()
        content = json.dumps({"data": {"result_b64": text}}, separators=(",", ":")).encode()
        media_type = "application/json"
    size = {"X-Width": str(image.width), "X-Height": str(image.height), "X-Credits-Charged": "0"}
    return Made(content, media_type, size)


def _encoded(image: Image.Image, picture: Picture, name: Format | Literal["auto", "zip"]) -> tuple[bytes, str]:
    """A result in a format, and its media type."""
    icc_profile = picture.icc_profile
    if name == "zip":
        if image.mode != "RGBA":
            raise Problem(400, "zip has colours and alpha: leave channels at rgba, or choose another format")
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("color.jpg", encode(image.convert("RGB"), "jpg", icc_profile))
            archive.writestr("alpha.png", encode(image.getchannel("A"), "png"))
        return file.getvalue(), "application/zip"
    is_transparent = image.mode == "RGBA" and image.getchannel("A").getextrema()[0] != 255
    if name == "auto":
        name = "png" if is_transparent or image.mode != "RGBA" else "jpg"
    if name == "jpg" and is_transparent:
        image = put_over(((255, 255, 255, 255),), image, picture)
    return encode(image, name, icc_profile), FORMATS[name]


def _shrunk(picture: Picture, size: str) -> Picture:
    width, height = picture.size
    scale = math.sqrt(_MEGAPIXELS.get(size, math.inf) * 1e6 / (width * height))
    if scale >= 1:
        return picture
    smaller = (max(1, int(width * scale)), max(1, int(height * scale)))
    alpha = None if picture.alpha is None else picture.alpha.resize(smaller, Image.Resampling.BOX)
    return Picture(picture.rgb.resize(smaller, Image.Resampling.LANCZOS, reducing_gap=3), alpha, picture.icc_profile)


_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(px|%)", re.ASCII)


def _lengths(field: str, text: str) -> list[tuple[float, bool]]:
    """The numbers in a field, each with whether it is a percentage. Raises Problem for anything else."""
    found = [_LENGTH.fullmatch(part) for part in text.split()]
    parts = [(float(match[1]), match[2] == "%") for match in found if match]
    if not parts or len(parts) < len(found):
        raise Problem(400, f"{field} is not in px or %")
    return parts


def _pixels(length: tuple[float, bool], whole: int) -> int:
    number, is_percentage = length
    return round(number * whole / 100) if is_percentage else round(number)


def region(text: str, size: tuple[int, int]) -> Box:
    """The rectangle "x1 y1 x2 y2" of a picture of a size. Raises Problem if it holds no pixel of it."""
    parts = _lengths("roi", text)
    if len(parts) != 4:
        raise Problem(400, "roi is x1 y1 x2 y2")
    x1, y1, x2, y2 = (min(_pixels(part, whole), whole) for part, whole in zip(parts, (*size, *size), strict=True))
    left, right = sorted((x1, x2))
    top, bottom = sorted((y1, y2))
    if left == right or top == bottom:
        raise Problem(400, "roi holds no pixel of the picture")
    return left, top, right, bottom


def margins(text: str, size: tuple[int, int]) -> Box:
    """Left, top, right and bottom margin of a subject of a size, from CSS's one, two or four lengths.

    Raises Problem for other numbers of them, more than 50 % and more than 500 pixels, which are remove.bg's limits.
    """
    parts = _lengths("crop_margin", text)
    if len(parts) not in (1, 2, 4):
        raise Problem(400, "crop_margin is one, two or four lengths")
    if any(number > (50 if is_percentage else 500) for number, is_percentage in parts):
        raise Problem(400, "crop_margin is 50% or 500px at most")
    top, right, bottom, left = parts * (4 // len(parts))
    width, height = size
    return _pixels(left, width), _pixels(top, height), _pixels(right, width), _pixels(bottom, height)


def _subject_box(margin: str, opacity: Levels) -> Box:
    """All that shows, with a margin in remove.bg's notation, as far as the picture reaches."""
    shown = Image.fromarray(opacity)
    box = shown.getbbox()
    if box is None:
        return 0, 0, *shown.size
    left, top, right, bottom = box
    width, height = shown.size
    before, above, behind, below = margins(margin, (right - left, bottom - top))
    return max(0, left - before), max(0, top - above), min(width, right + behind), min(height, bottom + below)
