"""What README and docs show is run as a reader would run it, page by page."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import pytest
from pictures import PHOTOGRAPH, ROOT, read_image

from u2net.cli.remove import remove
from u2net.models import DEFAULT
from u2net.models.zoo import find

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page: Path, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def _commands() -> list[str]:
    """Every `u2net …` that names files rather than placeholders, and downloads nothing."""
    lines = [line.partition("#")[0].strip() for page in PAGES for b in _blocks(page, "") for line in b.splitlines()]
    return [line for line in dict.fromkeys(lines) if re.match(r"u2net (?!models (download|verify))[^A-Z]+$", line)]


@pytest.fixture
def folder(tmp_path, monkeypatch, packaged) -> Path:
    """A folder with the files that the pages speak of, where the default model is open already."""
    shutil.copy(PHOTOGRAPH, tmp_path / "photo.jpg")
    shutil.copy(PHOTOGRAPH, tmp_path / "other.jpg")
    for name in ("u2netp.onnx", "mine.onnx"):
        shutil.copy(find("u2netp"), tmp_path / name)
    for name in (
        *("pictures/a.png", "pictures/sub/b.jpg", "masks/a.png", "masks/b.png"),
        *("ecssd/images/a.jpg", "ecssd/masks/a.png", "their-maps/a.png"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        read_image(PHOTOGRAPH).resize((60, 40)).save(tmp_path / name)
    if find_spec("av"):
        _add_films(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("u2net.cutout.remove._shared_sessions", {DEFAULT: packaged})
    return tmp_path


def _add_films(folder: Path) -> None:
    """Three seconds of seven frames, and an animated picture."""
    from video.films import disc, make_film

    make_film(folder / "clip.mp4", times=[Fraction(i, 2) for i in range(7)], sound="aac")
    disc(0).save(folder / "dance.gif", save_all=True, append_images=[disc(1)], duration=100)


@pytest.mark.parametrize("page", [p for p in PAGES if _blocks(p, "python")], ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, folder, monkeypatch):
    code = "\n".join(_blocks(page, "python"))
    if "u2net.video" in code:
        pytest.importorskip("av")
    if "openvino" in code:
        pytest.importorskip("openvino")
    if "u2net.training" in code:
        pytest.importorskip("torch")
        pytest.importorskip("tensorboard")
        from u2net import training

        monkeypatch.setattr(training, "SMOKE", replace(training.SMOKE, size=64, crop=64, workers=0))
    if "u2net.net" in code:
        torch = pytest.importorskip("torch")
        from u2net.net import U2NETP, U2Net
        from u2net.net.checkpoint import to_authors_key

        narrow = U2Net([row._replace(c_in=max(3, row.c_in // 16), c_mid=2, c_out=4) for row in U2NETP])
        torch.save({to_authors_key(key): value for key, value in narrow.state_dict().items()}, "u2net.pth")
    exec(compile(code, page.name, "exec"), {})


@pytest.mark.parametrize("command", _commands())
def test_a_command_runs(command, folder, here):
    if "clip.mp4" in command or "dance.gif" in command:
        pytest.importorskip("av")
    if not set("<>|") & set(command):  # no shell is needed
        result = here(*shlex.split(command)[1:])
        assert result.returncode == 0, result.stderr
        return
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    result = subprocess.run(command, shell=True, capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert result.returncode == 0, result.stderr


def _headings(page: Path) -> set[str]:
    """What GitHub and the site call the headings of a page in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_files_lead_to_files_and_headings():
    dead = []
    for page in [
        *ROOT.glob("*.md"),
        *(path for name in ("docs", "experiments") for path in (ROOT / name).rglob("*.md")),
    ]:
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            name, _, heading = target.partition("#")
            path = page.parent / name if name else page
            if not path.exists() or (heading and heading not in _headings(path)):
                dead.append(f"{page.relative_to(ROOT)}: {target}")
    assert dead == []


def test_the_table_of_contents_lists_every_page_once():
    docs = ROOT / "docs"
    listed = re.findall(r"^- \[.*?\]\((.*?)\)", (docs / "README.md").read_text(), re.MULTILINE)
    pages = {path.relative_to(docs).as_posix() for path in (*docs.glob("*.md"), *docs.glob("api/*.rst"))}
    assert len(listed) == len(set(listed))
    assert pages - {"README.md"} <= set(listed)


def test_the_page_of_the_command_line_names_every_option_of_remove():
    page = (ROOT / "docs/cli.md").read_text()
    options = [flag for option in remove.params if not getattr(option, "hidden", False) for flag in option.opts]
    assert len(options) > 30
    assert [flag for flag in options if flag.startswith("-") and f"`{flag}" not in page] == []
