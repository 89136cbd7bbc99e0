"""`u2net completion`."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes this command in SHELL.

    For bash, put eval "$(u2net completion bash)" into ~/.bashrc.
    """
    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(context.find_root().command, {}, "u2net", "_U2NET_COMPLETE").source())
