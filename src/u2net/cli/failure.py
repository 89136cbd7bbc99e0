"""What reaches the user's terminal: printable lines, and for a failure one line and the right exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import IO, Any

import click

from u2net.errors import InvalidSetting, U2NetError, UnknownModel, UnusableRuntime, printable, reason


def say(*lines: object, err: bool = False) -> None:
    """Print lines, with all that a terminal would obey spelled out."""
    for line in lines:
        click.echo(printable(line), err=err)


def say_json(text: str) -> None:
    """Print a text of JSON on stdout; it stays JSON."""
    for line in text.split("\n"):
        click.echo(printable(line, as_json=True))


class Refusal(click.ClickException):
    """The command makes no sense: one line, where click's own UsageError takes four, and exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line as all other failures are printed."""
        click.echo(f"u2net: {printable(self.format_message())}", file=file, err=True)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program with one line for what is expected to go wrong; anything else is a bug and shows itself."""
    try:
        yield
    except (InvalidSetting, UnknownModel, UnusableRuntime) as error:
        raise Refusal(str(error)) from None
    except (U2NetError, OSError) as error:
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error, OSError) and error.filename else ""
        say(f"u2net: {name}{reason(error)}", err=True)
        sys.exit(1)


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep remarks of decoders off stderr: what matters comes back as an exception, and is told in one line.

    libtiff writes to the descriptor itself, past Python; meanwhile `sys.stderr` is another way to where it led. This
    is for the program's main thread alone, around all threads that decode.
    """
    if sys.stderr is None:  # was closed by whoever started us
        yield
        return
    sys.stderr.flush()
    encoding, errors = sys.stderr.encoding, sys.stderr.errors
    with open(os.dup(2), "w", buffering=1, encoding=encoding, errors=errors) as stderr:  # noqa: PTH123
        try:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            with warnings.catch_warnings(), redirect_stderr(stderr):
                warnings.simplefilter("ignore")
                yield
        finally:
            os.dup2(stderr.fileno(), 2)
