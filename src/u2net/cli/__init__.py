"""The command line: one module per verb, each importing what it needs when it runs.

Exit codes: 0 all done; 1 something failed, one line on stderr for each; 2 the command makes no sense.
"""

import click

from u2net import __version__
from u2net.cli.check_data import check_data
from u2net.cli.completion import completion
from u2net.cli.evaluate import evaluate
from u2net.cli.export import export
from u2net.cli.models import models
from u2net.cli.remove import remove
from u2net.cli.serve import serve
from u2net.cli.train import train

_ALIASES = {"i": "remove", "p": "remove", "s": "serve"}  # rembg's verbs for one picture, a folder, a service


class _Verbs(click.Group):
    """A group that knows rembg's names for its verbs."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="u2net %(version)s")
def cli() -> None:
    """U²-Net: cut subjects out of pictures, fast and offline."""


for verb in (remove, serve, evaluate, train, check_data, models, export, completion):
    cli.add_command(verb)
