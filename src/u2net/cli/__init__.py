"""The command line: one module per verb, each importing what it needs when it runs.

Exit codes: 0 all done; 1 something failed, one line on stderr for each; 2 the command makes no sense.
"""

from importlib import import_module

import click

from u2net import __version__
from u2net.cli.failure import Refusal

_VERBS = ("check-data", "completion", "evaluate", "export", "frames", "models", "remove", "serve", "train", "web")
_ALIASES = {"b": "frames", "i": "remove", "p": "remove", "s": "serve"}  # rembg's verbs

_ELSEWHERE = {
    "d": "d downloads models: use `u2net models download NAME`",
    "m": "m moves models: rembg's are found where they are, `u2net models list` shows them",
}  # rembg's other verbs


class _Verbs(click.Group):
    """A group that loads a verb's module when it is asked for, and knows rembg's names."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name in _ELSEWHERE:
            raise Refusal(f"rembg's {_ELSEWHERE[cmd_name]}")
        verb = _ALIASES.get(cmd_name, cmd_name)
        if verb not in _VERBS:
            return None
        name = verb.replace("-", "_")
        command: click.Command = getattr(import_module(f"u2net.cli.{name}"), name)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="u2net %(version)s")
def cli() -> None:
    """U²-Net: cut subjects out of pictures, fast and offline."""
