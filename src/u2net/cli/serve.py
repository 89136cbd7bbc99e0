"""`u2net serve`: its options are the fields of `ServerConfig`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from u2net.cli.failure import Refusal, one_line_errors, quiet_decoders
from u2net.cli.options import config_options, given_options
from u2net.errors import MissingExtra
from u2net.server.config import PREFIX, ServerConfig


@click.command(context_settings={"help_option_names": ["--help"]})
@config_options(
    ServerConfig,
    skip={"api_keys"},  # on the command line, everyone who lists processes would see them
    names={"host": ("-h", "--host"), "port": ("-p", "--port")},  # rembg's
)
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
            config = replace(config, **given_options(given))
        except ValueError as error:
            raise Refusal(f"{error} (options, and {PREFIX}… in the environment)") from None
        try:
            from u2net.server.process import run
        except ImportError as error:
            raise MissingExtra(f"the service needs: pip install 'u2net[serve]' ({error.name} is missing)") from None
        with quiet_decoders():
            run(config)
