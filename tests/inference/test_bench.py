import json

import pytest
from cli.test_remove import u2net

from u2net.errors import InvalidModel
from u2net.inference.profile import WAYS, time_ways
from u2net.models.zoo import resolve


def test_every_way_is_timed_or_its_lack_explained():
    timings, missing = time_ways(resolve("u2netp"), threads=1, rounds=1)
    timed = {f"{timing.runtime} {timing.precision}" for timing in timings}
    assert timed | set(missing) == {" ".join(way) for way in WAYS}
    assert not timed & set(missing)
    assert all(timing.ms > 0 for timing in timings)


def test_the_fastest_comes_first_and_ratios_are_to_onnx_runtime_in_float32():
    timings, _ = time_ways(resolve("u2netp"), threads=1, rounds=2)
    assert [timing.ratio for timing in timings] == sorted(timing.ratio for timing in timings)
    (base,) = (timing for timing in timings if (timing.runtime, timing.precision) == ("onnxruntime", "fp32"))
    assert (base.ratio, base.ratio_min, base.ratio_max) == (1, 1, 1)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_text("no model")
    with pytest.raises(InvalidModel):
        time_ways(tmp_path / "a.onnx")


def test_the_command_prints_a_row_for_each_and_json():
    text = u2net("models", "bench", "--rounds", "1", "--threads", "1").stdout.decode()
    assert text.splitlines()[0].split() == ["runtime", "precision", "ms", "ratio"]
    facts = json.loads(u2net("models", "bench", "u2netp", "--rounds", "1", "--threads", "1", "--json").stdout)
    assert {"onnxruntime"} <= {row["runtime"] for row in facts["timings"]}
