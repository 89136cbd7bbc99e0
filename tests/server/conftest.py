import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")


@pytest.fixture(scope="module")
def place():
    """A service with a network that takes all for the subject."""
    from .running import running

    with running() as place:
        yield place
