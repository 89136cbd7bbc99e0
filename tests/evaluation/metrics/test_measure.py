import pickle

import numpy as np
import pytest

from u2net.evaluation.metrics import MAE, MATTING, SAD, SALIENCY, ClassIoU, FMeasure, Pair


def _pairs() -> list[Pair]:
    random = np.random.default_rng(0)
    levels = random.integers(0, 256, (7, 2, 12, 17), np.uint8)
    truths = [np.where(truth > 100, truth, 0).astype(np.uint8) for truth in levels[:, 1]]
    truths[2][:], truths[3][:] = 0, 255
    return [Pair(saliency, truth) for saliency, truth in zip(levels[:, 0], truths, strict=True)]


@pytest.mark.parametrize("kind", SALIENCY + MATTING, ids=lambda kind: kind.__name__)
def test_parts_that_were_measured_apart_score_as_the_whole(kind):
    whole, parts = kind(), [kind() for _ in range(3)]
    for i, pair in enumerate(_pairs()):
        whole.step(pair)
        parts[i % 2].step(pair)  # the third part stays empty
    merged = kind()
    for part in parts:
        merged.merge(pickle.loads(pickle.dumps(part)))
    assert merged.results() == pytest.approx(whole.results(), rel=1e-12)


def test_parts_of_several_classes_score_as_the_whole():
    random = np.random.default_rng(0)
    whole, *parts = (ClassIoU(("a", "b", "c"), ignore_index=9) for _ in range(3))
    for i in range(6):
        labels, truth = random.integers(0, 3, (2, 8, 9), np.uint8)
        whole.step(labels, truth)
        parts[i % 2].step(labels, truth)
    parts[0].merge(parts[1])
    assert parts[0].results() == whole.results()
    assert (parts[0].classes, parts[0].ignore_index) == (("a", "b", "c"), 9)


def test_what_is_merged_stays_as_it_was():
    first, second = FMeasure(), FMeasure()
    for measure in (first, second):
        measure.step(_pairs()[0])
    before = second.results()
    first.merge(second)
    first.step(_pairs()[1])
    assert second.results() == before


def test_a_perfect_score_of_0_is_kept():
    truth = np.full((2, 2), 255, np.uint8)
    parts = [SAD(), SAD()]
    for part in parts:
        part.step(Pair(truth, truth))
    parts[0].merge(parts[1])
    assert parts[0].results() == {"SAD": 0}


def test_measures_of_another_kind_are_refused():
    with pytest.raises(TypeError, match="FMeasure cannot be merged into MAE"):
        MAE().merge(FMeasure())
