"""Odd, broken and hostile pictures by HTTP."""

from collections import Counter
from pathlib import Path

import pytest
from needs import needs_proc

pytest.importorskip("onnx")

from .load import report
from .processes import serving, tiny_model
from .running import picture


@needs_proc
def test_every_odd_or_broken_picture_is_answered_and_none_with_5xx(data, tmp_path):
    files = sorted(path for path in (data / "badimages").glob("*/*") if path.is_file())
    assert files
    statuses, peaks = Counter(), {}
    with serving("--models", tiny_model(tmp_path)) as place:
        for _ in range(8):
            place.post("/api/remove", {"file": picture((600, 400))})
        before = place.mib()
        for path in files:
            if Path("/proc/self/clear_refs").exists():
                place.forget_peak()
            statuses[place.post("/api/remove", {"file": path.read_bytes()}).status] += 1
            peaks[path.name] = place.mib("VmHWM") - before
    report(f"{statuses}, most MiB over {before:.0f}: {max(peaks.items(), key=lambda item: item[1])}")
    assert set(statuses) <= {200, 415, 422}
    assert max(peaks.values()) <= 300
