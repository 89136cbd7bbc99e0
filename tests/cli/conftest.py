import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def here(capfdbinary, monkeypatch, opened_before) -> Run:
    """The command line in this process: quicker than `u2net`, for tests that are not about a process."""
    from u2net.cli import cli

    def run(
        *arguments: str | os.PathLike[str], stdin: bytes = b"", cwd: os.PathLike[str] | None = None
    ) -> subprocess.CompletedProcess:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli(list(map(str, arguments)), prog_name="u2net")
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, *capfdbinary.readouterr())

    return run


class _Inside:
    """Stands for a pool: does tasks in this process, by a cutter that was opened once for all tests."""

    def __init__(self, cutters: dict, cutter) -> None:
        self._cutter = cutters.setdefault(repr(cutter.config), cutter)

    def __enter__(self) -> "_Inside":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, tasks) -> Iterator:
        from u2net.cutout.batch.tasks import make

        return (make(self._cutter, task) for task in tasks if task)


@pytest.fixture(scope="session")
def cutters() -> dict:
    """Those that tests have opened, by their configuration."""
    return {}


@pytest.fixture
def folder_here(here, cutters, monkeypatch) -> Run:
    """The same, where the pictures of a folder are cut out in this process, too."""
    monkeypatch.setattr("u2net.cutout.batch.pool.Pool", lambda cutter, num: _Inside(cutters, cutter))
    return here
