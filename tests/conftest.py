import gc
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from networks import let_go_of_runtimes, remembered_session
from pictures import PHOTOGRAPH

from u2net.system.process import bound_heaps, num_processors, trim_heaps


def pytest_configure():
    """Processes of pytest-xdist share the machine: each, and what it starts, computes with its part of it.

    Two that take all processors wait for each other's threads, and use up to three times the time.
    """
    if num := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_processors() // int(num))))


@pytest.fixture(scope="session", autouse=True)
def _bounded_heaps():
    """As in the service and the pool: without it, what runtimes and large pictures freed adds up to gigabytes."""
    bound_heaps()


@pytest.fixture(scope="module", autouse=True)
def _trimmed_heaps():
    yield
    let_go_of_runtimes()
    gc.collect()
    trim_heaps()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of research data that `U2NET_DATA` names; tests that need it are skipped without it."""
    if not os.environ.get("U2NET_DATA"):
        pytest.skip("U2NET_DATA names no folder of research data")
    return Path(os.environ["U2NET_DATA"])


@pytest.fixture(scope="session")
def photograph() -> Path:
    """The demo photograph, 600×400."""
    return PHOTOGRAPH


@pytest.fixture(scope="session")
def packaged():
    """The default model; what it puts out for a picture is computed once."""
    return remembered_session("u2netp_distilled")


@pytest.fixture(scope="session")
def u2netp():
    """The authors' U²-Net†, packaged too, likewise."""
    return remembered_session("u2netp")


@pytest.fixture
def opened_before(monkeypatch, packaged, u2netp):
    """Cutters that ask for a packaged model by its name, in numbers that all runtimes give alike, get those above."""
    from u2net import Session
    from u2net.cutout import cutter

    known = {"u2netp_distilled": packaged, "u2netp": u2netp}
    really_open = cutter.new_session

    def new_session(model, *, runtime, precision, **options):
        if model in known and runtime in ("auto", "onnxruntime") and precision in ("auto", "fp32"):
            return Session(known[model].backend, known[model].card)
        return really_open(model, runtime=runtime, precision=precision, **options)

    monkeypatch.setattr(cutter, "new_session", new_session)


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
