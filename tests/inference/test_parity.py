"""The maps that the authors published for their test pictures, and one that their steps make of the demo photograph."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from networks import open_anywhere
from pictures import ROOT, read_image

from u2net import Session
from u2net.inference.runtimes import RUNTIMES
from u2net.models.zoo import find


@pytest.fixture(scope="module", params=[*RUNTIMES, "torch"])
def u2netp_anywhere(request) -> Iterator[Session]:
    """The authors' U²-Net† in each runtime, in float32."""
    with open_anywhere(_file("u2netp"), request.param) as session:
        yield session


@pytest.fixture(
    scope="module",
    params=[(name, runtime) for name in ("u2netp", "u2net") for runtime in (*RUNTIMES, "torch")],
    ids=str,
)
def difference(request, data) -> Iterator[Callable[[str], np.ndarray]]:
    """By how many grey levels the map of a picture of `parity/` differs from the published one, (H, W)."""
    network, runtime = request.param

    def difference_of(picture: str) -> np.ndarray:
        theirs = read_image(data / f"parity/{Path(picture).stem}.{network}.png").convert("L")
        return np.abs(session.mask(data / "parity" / picture) - np.asarray(theirs).astype(int))

    with open_anywhere(_file(network), runtime) as session:
        yield difference_of


def _file(network: str) -> Path:
    path = find(network)
    if path is None:
        pytest.skip(f"this machine does not have {network}: u2net models download {network}")
    return path


def test_the_demo_photograph_gives_the_map_that_the_authors_steps_give(u2netp_anywhere, photograph):
    theirs = np.asarray(read_image(ROOT / "tests/golden/coffee.u2netp.png")).astype(int)
    difference = np.abs(u2netp_anywhere.mask(photograph) - theirs)
    assert difference.max() <= 1
    assert difference.mean() < 0.0005 * 255


@pytest.mark.parametrize("name", ["girl.png", "hockey.png", "im_21.png", "whisk.png"])
def test_png_pictures_give_the_published_maps_within_one_grey_level(difference, name):
    assert difference(name).max() <= 1


def test_a_jpeg_gives_the_published_map_up_to_decoding(difference):
    assert difference("horse.jpg").mean() <= 0.0005 * 255
