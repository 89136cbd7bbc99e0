import json
import re
import tomllib
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
    assert 100 < round(sum(map(_num_bytes, names)) / 1e6) <= 172  # README tells whole megabytes


def test_packaged_weights_are_at_most_5_mb_those_of_our_own_half_of_that_and_integers_less():
    sizes = {path.stem: path.stat().st_size for path in (ROOT / "src/u2net/models/weights").glob("*.onnx")}
    limits = {"u2netp": 5e6, "u2netp_distilled": 2.5e6, "u2netp-int8": 1.5e6, "u2netp_distilled-int8": 1.5e6}
    assert sizes.keys() == limits.keys()
    assert all(sizes[name] <= limit for name, limit in limits.items())


def test_the_version_is_that_of_the_citation_and_has_its_changes():
    from u2net import __version__

    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert json.loads((ROOT / "web/package.json").read_text())["version"] == __version__
    assert f"image: u2net:{__version__}\n" in (ROOT / "deploy/kubernetes.yaml").read_text()
    assert f"-t u2net:{__version__} ." in (ROOT / "deploy/Dockerfile").read_text()


HATCH = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]


def test_the_source_distribution_holds_what_tests_and_pages_speak_of():
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    named = {name for text in texts for name in re.findall(r'ROOT / "(\w[\w.-]*)', text)}
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
        named |= {(page.parent / link).resolve().relative_to(ROOT.resolve()).parts[0] for link in links}
    assert {"deploy", "docs", "tests", "SECURITY.md"} <= named
    assert {f"/{name}" for name in named} <= {*HATCH["build"]["targets"]["sdist"]["include"], "/pyproject.toml"}


def test_what_a_package_index_shows_has_no_links_and_pictures_of_the_repository():
    text = (ROOT / "README.md").read_text()
    for rule in HATCH["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert targets
    assert all(target.startswith("https://") for target in targets)
    assert "![" not in text
