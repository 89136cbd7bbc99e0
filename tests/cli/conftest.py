from collections.abc import Iterator

import pytest


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
def folder_here(here, cutters, monkeypatch):
    """The command line in this process, as `here`, where the pictures of a folder are cut out there, too."""
    monkeypatch.setattr("u2net.cutout.batch.pool.Pool", lambda cutter, num: _Inside(cutters, cutter))
    return here
