import json
import runpy

import pytest
from pictures import ROOT

from u2net.evaluation.metrics import MAE, EMeasure, Overlap, Pair, PictureFMeasure, SMeasure, WeightedF

GOLDEN = ROOT / "tests/golden"
PAIRS = runpy.run_path(str(GOLDEN / "make_pysodmetrics.py"))["pairs"]()
SCORES = json.loads((GOLDEN / "pysodmetrics.json").read_text(encoding="utf-8"))["scores"]


def results(measure, pair: Pair) -> dict[str, float]:
    measure.step(pair)
    return measure.results()


def stretched(pair: Pair) -> Pair:
    """A pair whose map is cut at one half of its stretched values, as PySODMetrics cuts for IoU and Dice."""
    return Pair((255 * (pair.stretched > 0.5)).astype("uint8")[pair.saliency], pair.truth)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("kind", [MAE, PictureFMeasure, EMeasure, SMeasure, WeightedF])
def test_scores_are_those_of_pysodmetrics(kind, name):
    ours = results(kind(), Pair(*PAIRS[name]))
    shared = ours.keys() & SCORES[name].keys()
    assert shared or (kind is SMeasure and name in {"one row", "one column"})  # which have NaN there
    assert {key: ours[key] for key in shared} == pytest.approx({key: SCORES[name][key] for key in shared}, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "empty mask"])
def test_overlap_of_a_stretched_map_is_that_of_pysodmetrics(name):
    ours = results(Overlap(), stretched(Pair(*PAIRS[name])))
    assert ours == pytest.approx({key: SCORES[name][f"{key} stretched"] for key in ours}, abs=1e-12)


def test_a_score_is_recorded_for_each_pair():
    assert SCORES.keys() == PAIRS.keys()
