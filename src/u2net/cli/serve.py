"""`u2net serve`: its options are the fields of `ServerConfig`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from u2net.cli.failure import Refusal, one_line_errors, quiet_decoders
from u2net.cli.fields import field_docstrings
from u2net.errors import MissingExtra
from u2net.server.config import PREFIX, ServerConfig

_SHORT = {"host": "-h", "port": "-p"}  # rembg's
_SECRET = {"api_keys"}  # the environment and a file keep them from those who list processes


def _config_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of ServerConfig, with the field's docstring as help."""
    helps, hints = field_docstrings(ServerConfig), get_type_hints(ServerConfig)
    for field in reversed(fields(ServerConfig)):
        if field.name in _SECRET:
            continue
        kind = hints[field.name]
        options: dict[str, Any] = {"default": None, "help": _help(helps.get(field.name, ""), field.default)}
        if get_origin(kind) is Literal:
            options["type"] = click.Choice(get_args(kind))
        elif get_origin(kind) is tuple:
            options |= {"multiple": True, "metavar": "NAME"}
        elif kind in (int, float):
            options["type"] = kind
        names = [_SHORT[field.name]] if field.name in _SHORT else []
        command = click.option(*names, f"--{field.name.replace('_', '-')}", field.name, **options)(command)
    return command


def _help(text: str, default: object) -> str:
    shown = ", ".join(default) if isinstance(default, tuple) else default
    return text if shown in (None, "") else f"{text}  [default: {shown}]"


@click.command(context_settings={"help_option_names": ["--help"]})
@_config_options
def serve(**given: Any) -> None:
    """Serve the cutting of pictures over HTTP.

    Every option can also be set in the environment, as U2NET_SERVE_PORT and so on, lists with commas between; so can
    U2NET_SERVE_API_KEYS, NAME:SHA256 of keys that clients must give. SIGTERM and Ctrl-C end the service once what it
    has is finished, a second one at once. Needs the extra serve.
    """
    with one_line_errors():
        config = _configured(given)
        try:
            import fastapi  # noqa: F401
            import prometheus_client  # noqa: F401
            import python_multipart  # noqa: F401
            import uvicorn  # noqa: F401
        except ImportError as error:
            raise MissingExtra(f"the service needs: pip install 'u2net[serve]' ({error.name} is missing)") from None
        from u2net.server.process import run

        with quiet_decoders():
            run(config)


def _configured(given: dict[str, Any]) -> ServerConfig:
    try:
        config = ServerConfig.from_environment()
        return replace(config, **{name: value for name, value in given.items() if value not in (None, ())})
    except ValueError as error:
        raise Refusal(f"{error} (options, and {PREFIX}… in the environment)") from None
