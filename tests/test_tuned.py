"""The weights that this project has trained on, beside those that they began as."""

import numpy as np
import pytest
from pictures import read_image

from u2net import evaluate, new_session
from u2net.dataset import Dataset, open_dataset
from u2net.transform import Transform


@pytest.fixture(scope="module")
def tuned():
    return new_session("u2netp_tuned", runtime="onnxruntime")


def test_it_is_fed_anti_aliased_and_its_maps_are_not_stretched(tuned):
    assert tuned.card.transform == Transform(antialias=True, divisor="255", stretch=False, upsample="bicubic")
    assert tuned.card.num_parameters == 1_131_181


def test_it_sees_the_same_subject(tuned, packaged, photograph):
    ours, theirs = tuned.mask(photograph) > 127, packaged.mask(photograph) > 127
    assert (ours & theirs).sum() > 0.95 * (ours | theirs).sum()


def test_a_picture_of_one_colour_has_no_subject(tuned):
    assert tuned.mask(np.full((300, 400, 3), 120, dtype=np.uint8)).max() < 128


def test_half_the_size_changes_its_map_less(tuned, packaged, photograph):
    image = read_image(photograph)
    half = image.resize((image.width // 2, image.height // 2))

    def change(session):
        whole = session.saliency(image)
        small = session.saliency(half.resize(image.size))
        return float(np.abs(whole - small).mean())

    assert change(tuned) < 0.02
    assert change(tuned) < 2 * change(packaged)


def test_on_pictures_that_neither_has_seen_its_errors_are_smaller(data):
    examples = open_dataset(data / "ecssd.tar").examples[7::25]
    held = Dataset("ecssd, a few", "every twenty-fifth", examples)
    of = {name: evaluate(held, name).scores for name in ("u2netp", "u2netp_tuned")}
    assert of["u2netp_tuned"]["MAE"] < of["u2netp"]["MAE"] - 0.003
    for measure in ("maxF", "Fw", "Sm", "BIoU"):
        assert of["u2netp_tuned"][measure] > of["u2netp"][measure]
