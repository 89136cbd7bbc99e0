"""The default weights, which this project has trained on, beside those that they began as."""

import numpy as np
import pytest
from pictures import read_image

from u2net import evaluate
from u2net.models.transform import Transform

DISTILLED = "u2netp_distilled"


@pytest.fixture(scope="module")
def distilled(packaged):
    return packaged


def test_it_is_fed_anti_aliased_and_its_maps_are_not_stretched(distilled):
    assert distilled.card.transform == Transform(antialias=True, divisor="255", stretch=False, upsample="bicubic")
    assert (distilled.card.num_parameters, distilled.card.licence) == (1_131_181, "Apache-2.0")


def test_it_sees_the_same_subject(distilled, u2netp, photograph):
    ours, theirs = distilled.mask(photograph) > 127, u2netp.mask(photograph) > 127
    assert (ours & theirs).sum() > 0.95 * (ours | theirs).sum()


def test_a_picture_of_one_colour_has_no_subject(distilled):
    assert distilled.mask(np.full((300, 400, 3), 120, dtype=np.uint8)).max() < 128


def test_half_the_size_changes_its_map_less(distilled, u2netp, photograph):
    image = read_image(photograph)
    half = image.resize((image.width // 2, image.height // 2))

    def change(session):
        whole = session.saliency(image)
        small = session.saliency(half.resize(image.size))
        return float(np.abs(whole - small).mean())

    assert change(distilled) < change(u2netp)


@pytest.mark.slow
def test_on_ecssd_it_is_better_in_every_score_and_by_four_thousandths_of_mae(data):
    ours, theirs = (evaluate(data / "ecssd.tar", model).scores for model in (DISTILLED, "u2netp"))
    assert ours["MAE"] <= theirs["MAE"] - 0.004
    for measure in ("maxF", "Fw", "Sm", "maxE", "relaxF", "IoU", "BIoU"):
        assert ours[measure] > theirs[measure]
