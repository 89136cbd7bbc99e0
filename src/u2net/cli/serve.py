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

_SHORT = {"host": ["-h"], "port": ["-p"]}  # rembg's
_SECRET = {"api_keys"}  # on the command line, everyone who lists processes would see them


def _config_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of ServerConfig, with the field's docstring as help."""
    helps, hints = field_docstrings(ServerConfig), get_type_hints(ServerConfig)
    for field in reversed(fields(ServerConfig)):
        if field.name in _SECRET:
            continue
        kind, default = hints[field.name], field.default
        shown = ", ".join(default) if isinstance(default, tuple) else default
        text = helps.get(field.name, "") + ("" if shown in (None, "") else f"  [default: {shown}]")
        options: dict[str, Any] = {"default": None, "help": text}
        if get_origin(kind) is Literal:
            options["type"] = click.Choice(get_args(kind))
        elif get_origin(kind) is tuple:
            options |= {"multiple": True, "metavar": "NAME"}
        elif kind in (int, float):
            options["type"] = kind
        names = [*_SHORT.get(field.name, ()), f"--{field.name.replace('_', '-')}", field.name]
        command = click.option(*names, **options)(command)
    return command


@click.command(context_settings={"help_option_names": ["--help"]})
@_config_options
def serve(**given: Any) -> None:
    """Run the HTTP service that cuts subjects out of pictures, and its page.

    For example `u2net serve --port 8000 --models u2net`, then open http://localhost:8000 in a browser. Needs the
    extra serve.

    Each option can also be set in the environment, for example U2NET_SERVE_PORT=8000; lists have commas there. Client
    keys are set only in U2NET_SERVE_API_KEYS or in a file. SIGTERM and Ctrl-C end the service when its requests are
    finished; a second one ends it at once.
    """
    with one_line_errors():
        try:
            config = ServerConfig.from_environment()
            config = replace(config, **{name: value for name, value in given.items() if value not in (None, ())})
        except ValueError as error:
            raise Refusal(f"{error} (options, and {PREFIX}… in the environment)") from None
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
