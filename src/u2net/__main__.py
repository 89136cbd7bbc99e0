"""`python -m u2net` and the command `u2net`."""

import sys


def main() -> None:
    """Run the command line; the version is told before anything is imported."""
    if sys.argv[1:] == ["--version"]:
        from u2net import __version__

        sys.stdout.write(f"u2net {__version__}\n")
        return
    from u2net.cli import cli

    cli(prog_name="u2net")


if __name__ == "__main__":
    main()
