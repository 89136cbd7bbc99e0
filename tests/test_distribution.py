import re
from importlib.metadata import distribution, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pictures import ROOT


def _closure(name: str, found: set[str]) -> set[str]:
    """A distribution and all that it needs here, extras left out."""
    found.add(canonicalize_name(name))
    for text in requires(name) or []:
        needed = Requirement(text)
        wanted = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if wanted and canonicalize_name(needed.name) not in found:
            _closure(needed.name, found)
    return found


def _num_bytes(name: str) -> int:
    """Length of its files as the wheel brought them, bytecode left out."""
    if name == "u2net":  # may be an editable installation, which records no files
        return sum(p.stat().st_size for p in (ROOT / "src/u2net").rglob("*") if p.suffix != ".pyc" and p.is_file())
    return sum(file.size or 0 for file in distribution(name).files or ())


def test_the_light_installation_is_at_most_18_distributions_and_172_mb():
    names = _closure("u2net", set())
    assert {"numpy", "onnxruntime", "pillow"} < names
    assert not names & {"torch", "onnx", "scipy", "opencv-python", "numba"}
    assert len(names) <= 18
    assert 100e6 < sum(map(_num_bytes, names)) <= 172e6


def test_packaged_weights_are_at_most_5_mb_those_of_our_own_half_of_that_and_integers_less():
    sizes = {path.stem: path.stat().st_size for path in (ROOT / "src/u2net/models/weights").glob("*.onnx")}
    limits = {"u2netp": 5e6, "u2netp_tuned": 2.5e6, "u2netp-int8": 1.5e6, "u2netp_tuned-int8": 1.5e6}
    assert sizes.keys() == limits.keys()
    assert all(sizes[name] <= limit for name, limit in limits.items())


def test_the_version_is_that_of_the_citation_and_has_its_changes():
    from u2net import __version__

    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
