import numpy as np
import pytest

from u2net.inference.session import subject_confidence


def _map(level, share=0.2, size=320):
    saliency = np.zeros((size, size), dtype=np.float32)
    saliency[: round(size * share)] = level
    return saliency


def test_a_map_of_nothing_has_no_subject():
    assert subject_confidence(_map(0.0)) < 0.001


def test_a_crisp_map_has_a_subject():
    assert subject_confidence(_map(1.0)) > 0.9


def test_even_odds_are_where_the_logistic_function_has_them():
    """logit p = 8.6 / 1.6"""
    assert subject_confidence(_map(1 / (1 + np.exp(-8.6 / 1.6)))) == pytest.approx(0.5, abs=1e-3)


def test_a_fainter_map_is_less_sure():
    scores = [subject_confidence(_map(level)) for level in (0.5, 0.9, 0.99, 0.999)]
    assert scores == sorted(set(scores))


def test_the_surest_hundredth_counts():
    saliency = _map(0.0)
    saliency[:32, :32] = 1  # 1,024 pixels are one in a hundred
    assert subject_confidence(saliency) > 0.9
    saliency[:16] = 0
    assert subject_confidence(saliency) < 0.01


def test_one_pixel_is_enough_to_judge():
    assert subject_confidence(np.ones((1, 1), dtype=np.float32)) > 0.9


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.999])
def test_a_map_that_was_sharpened_is_as_sure_as_before(level):
    sharpened = 1 / (1 + np.exp(-1.8 * np.log(level / (1 - level))))
    assert subject_confidence(_map(sharpened), 1.8) == pytest.approx(subject_confidence(_map(level)), rel=1e-3)
    for extreme in (0.0, 1.0):
        assert subject_confidence(_map(extreme), 1.8) == subject_confidence(_map(extreme))
