"""What requests may ask for, checked; and how OpenAPI describes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from starlette.requests import Request

from u2net.config import field_docstrings, field_types
from u2net.cutout.config import CutoutConfig
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


def _refused(value: object) -> object:
    if str(value).strip().lower() not in ("false", "0", "no", "off", "f", "n"):
        raise ValueError("is not offered here: ask for quality=best or a=true")
    return False


_Byte = Annotated[int, Field(ge=0, le=255)]
_Unsupported = Annotated[bool, BeforeValidator(_refused)]
_Color = Annotated[
    tuple[_Byte, _Byte, _Byte, _Byte],
    BeforeValidator(
        lambda text: text.split(",") if isinstance(text, str) else text,
        json_schema_input_type=Annotated[str, Field(pattern=r"^(\d{1,3},){3}\d{1,3}$")],
    ),
]


class Asked(BaseModel):
    """Parameters of a request, from its query and its form."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    def config(self, **more: Any) -> CutoutConfig:
        """What is asked for, as `CutoutConfig` describes it, with `more` of its fields. Raises Problem."""
        given = {_SHORT[name]: value for name, value in self if name in _SHORT and name != "model"}
        color = getattr(self, "bgc", None)
        if color and any(color):
            given["background"] = "#" + bytes(color).hex()
        try:
            config = CutoutConfig(**given | more)
            _ = config.outline, config.finish  # which know more of what makes no sense together
        except ValueError as error:
            raise Problem(400, re.sub(r"`(\w+)`", lambda name: _NAMES.get(name[1], name[1]), str(error))) from None
        return config


_NAMES = {field.name: field.metadata["short"] or field.name for field in fields(CutoutConfig)} | {"model": "model"}
"""What requests call the fields of `CutoutConfig`: by rembg's short names, where it has any."""
_SHORT = {short: name for name, short in _NAMES.items()}
_AT_MOST = {"alpha_matting_erode_size": 255}  # of strangers; for one's own pictures more is allowed


def _with_parameters(*names: str) -> Callable[[type[Parameters]], type[Parameters]]:
    """Add parameters that are fields of `CutoutConfig`, with their types, defaults, ranges and texts."""
    types, texts = field_types(CutoutConfig), field_docstrings(CutoutConfig)
    known = {field.name: field for field in fields(CutoutConfig)}

    def add(kind: type[Parameters]) -> type[Parameters]:
        parameters: dict[str, Any] = {}
        for name in names:
            limits = {"ge": known[name].metadata["low"], "le": _AT_MOST.get(name, known[name].metadata["high"])}
            text = texts.get(name, "").partition("  [default")[0]
            parameters[_NAMES[name]] = (types[name], Field(known[name].default, description=text, **limits))
        return create_model(kind.__name__, __base__=kind, __doc__=kind.__doc__, **parameters)

    return add


@_with_parameters("post_process_mask", "quality", "looks")
class MaskAsked(Asked):
    """Of POST /api/mask."""

    model: str | None = None
    """Name of a model that the service offers."""
    format: Literal["png", "webp"] = "png"
    """Format of the answer."""


@_with_parameters(
    "only_mask",
    "post_process_mask",
    "quality",
    "looks",
    "alpha_matting",
    "alpha_matting_foreground_threshold",
    "alpha_matting_background_threshold",
    "alpha_matting_erode_size",
    "keep_colors",
    "decontaminate",
)
class RemoveAsked(Asked):
    """Of /api/remove: rembg's, by its names, and the format."""

    model: str | None = None
    """Name of a model that the service offers."""
    bgc: _Color | None = None
    """Background colour: red, green, blue, opacity, 0 to 255 each; 0,0,0,0 for none."""
    format: Literal["png", "webp", "jpg"] = "png"
    """Format of the answer. JPEG gets a white background unless `bgc` gives another."""
    vm: _Unsupported = False
    """ViTMatte, which is refused."""


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
    for name, what in files.items():
        form["properties"][name] = {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": what,
        }
    if len(files) == 1:
        form["required"] = list(files)
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
