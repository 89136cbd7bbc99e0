"""What requests may ask for, checked; and how OpenAPI describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request

from u2net.cutout.outline import Matting, Outline, Quality
from u2net.cutout.remove import Color
from u2net.server.forms import Form
from u2net.server.problems import MEDIA_TYPE, SCHEMA, Problem

FORMATS = {"png": "image/png", "webp": "image/webp", "jpg": "image/jpeg"}
_CODES = {
    400: "A parameter makes no sense.",
    401: "Keys are asked for, and none or a wrong one was given.",
    408: "The request came too slowly.",
    413: "The request is too large.",
    415: "What was sent is no picture of an accepted format, or no form.",
    422: "The picture is broken, or has too many pixels.",
    429: "Too many requests; Retry-After has the seconds to wait.",
    503: "The service is starting, ending, or short of memory.",
    504: "It took too long.",
}

Parameters = TypeVar("Parameters", bound="Asked")


def _four_numbers(text: object) -> object:
    return text.split(",") if isinstance(text, str) else text


def _refused(value: object) -> object:
    if str(value).strip().lower() not in ("false", "0", "no", "off", "f", "n"):
        raise ValueError("is not offered here: ask for quality=best or a=true")
    return False


_Byte = Annotated[int, Field(ge=0, le=255)]
_Unsupported = Annotated[bool, BeforeValidator(_refused)]
_Color = Annotated[
    tuple[_Byte, _Byte, _Byte, _Byte],
    BeforeValidator(_four_numbers, json_schema_input_type=Annotated[str, Field(pattern=r"^(\d{1,3},){3}\d{1,3}$")]),
]


class Asked(BaseModel):
    """Parameters of a request, from its query and its form; a docstring is what OpenAPI says of each."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class MaskAsked(Asked):
    """Of POST /api/mask."""

    model: str | None = None
    """Name of a model that the service offers."""
    ppm: bool = False
    """Make the mask hard, with smooth outlines."""
    quality: Quality | None = None
    """How outlines are decided, the better the longer it takes; what suits the model where none is given."""
    format: Literal["png", "webp"] = "png"
    """Format of the answer."""


class RemoveAsked(Asked):
    """Of /api/remove: rembg's, by its names, and the format."""

    model: str | None = None
    """Name of a model that the service offers."""
    om: bool = False
    """The mask alone."""
    ppm: bool = False
    """Make the mask hard, with smooth outlines."""
    quality: Quality | None = None
    """How outlines are decided, the better the longer it takes; what suits the model where none is given."""
    bgc: _Color | None = None
    """Colour to put the cut-out over: red, green, blue, opacity, 0 to 255 each; 0,0,0,0 for none."""
    format: Literal["png", "webp", "jpg"] = "png"
    """Format of the answer; JPEG gets a white background unless `bgc` says another."""
    a: bool = False
    """Alpha matting: outlines in closed form, in place of `quality`; for pictures of few megapixels, since it takes
    seconds."""
    af: _Byte = 240
    """For alpha matting: the mask above it is surely subject."""
    ab: _Byte = 10
    """For alpha matting: the mask below it is surely background."""
    ae: _Byte = 10
    """For alpha matting: how wide around a pixel the mask has to be sure, in pixels."""
    dc: bool = False
    """Take the old background out of the colours of soft outlines, as the better qualities do anyway."""
    vm: _Unsupported = False
    """ViTMatte, which is refused."""

    @model_validator(mode="after")
    def _decides_once(self) -> Self:
        Outline(self.quality, Matting() if self.a else None)
        return self

    @property
    def color(self) -> Color | None:
        """The background colour."""
        return self.bgc if self.bgc and any(self.bgc) else None


class FetchAsked(RemoveAsked):
    """Of GET /api/remove."""

    url: str
    """Where the picture is."""


def parse(kind: type[Parameters], request: Request, form: Form) -> Parameters:
    """The parameters in a request's query and form, of which each may stand once. Raises Problem."""
    query = [(name, value) for name, value in request.query_params.multi_items() if value]
    given = dict(query) | form.fields
    if len(given) < len(query) + len(form.fields):
        raise Problem(400, "a parameter is given twice")
    return check(kind, given)


def check(kind: type[Parameters], given: Mapping[str, object]) -> Parameters:
    """The parameters in a mapping. Raises Problem."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"]))
        shown = name if name and name.isprintable() and len(name) < 40 else "a parameter"
        raise Problem(400, f"{shown}: {first['msg'].removeprefix('Value error, ')}") from None


def describe(kind: type[Asked], files: Mapping[str, str], models: tuple[str, ...]) -> dict[str, Any]:
    """OpenAPI of a POST that takes these parameters and files, each with what it is."""
    form = _schema(kind, models)
    first = next(iter(files))
    for name, what in files.items():
        form["properties"][name] = {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": what,
        }
    if len(files) == 1:
        form["required"] = [first]
    picture: dict[str, Any] = {"schema": {}}  # which is how OpenAPI 3.1 says bytes
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, "application/octet-stream": picture},
        }
    }


def describe_query(kind: type[Asked], models: tuple[str, ...]) -> list[dict[str, Any]]:
    """OpenAPI of these parameters in a query."""
    schema = _schema(kind, models)
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": described}
        for name, described in schema["properties"].items()
    ]


def answers(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI of what comes back."""
    picture: dict[str, Any] = {name: {"schema": {}} for name in media_types}
    problem = {MEDIA_TYPE: {"schema": SCHEMA}}
    refused: dict[int | str, dict[str, Any]] = {
        code: {"description": what, "content": problem} for code, what in _CODES.items()
    }
    return {200: {"description": "The picture.", "content": picture}, **refused}


def _schema(kind: type[Asked], models: tuple[str, ...]) -> dict[str, Any]:
    schema = kind.model_json_schema()
    if "model" in schema["properties"]:
        schema["properties"]["model"] |= {"type": "string", "enum": list(models), "default": models[0]}
        del schema["properties"]["model"]["anyOf"]
    return schema
