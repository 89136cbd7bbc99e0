import gc
import os
from pathlib import Path

import pytest
from pictures import PHOTOGRAPH

from u2net.system import bound_heaps, trim_heaps


@pytest.fixture(scope="session", autouse=True)
def _bounded_heaps():
    """As in the service and the pool: without it, what runtimes and large pictures freed adds up to gigabytes."""
    bound_heaps()


@pytest.fixture(scope="module", autouse=True)
def _trimmed_heaps():
    yield
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
    """The default model, opened once, in the numbers that every runtime gives alike."""
    from u2net import new_session

    return new_session(runtime="onnxruntime")


@pytest.fixture(scope="session")
def u2netp():
    """The authors' U²-Net†, packaged too, opened alike."""
    from u2net import new_session

    return new_session("u2netp", runtime="onnxruntime")
