"""`python -m u2net` and the command `u2net`."""

import os
import sys


def main() -> None:
    """Run the command line; the version is told before anything is imported."""
    if getattr(sys, "frozen", False):
        import multiprocessing

        multiprocessing.freeze_support()  # a process of the pool starts this program again, and goes no further
    if sys.argv[1:] == ["--version"]:
        from u2net import __version__

        sys.stdout.write(f"u2net {__version__}\n")
        return
    import signal

    # As an exception it lets files that are half written be removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # OpenVINO does without its converter of models where there is none; it would take longer to load than all the rest.
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]
    from u2net.cli import cli

    try:
        cli(prog_name="u2net")
    finally:
        _flush()


def _flush() -> None:
    """Write out what is left while an error can still be told; the interpreter's own attempt could not."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"u2net: stdout: {error.strerror}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
