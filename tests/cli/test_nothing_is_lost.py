"""Slips of the command line, such as a glob, a typo or an empty variable, that could cost a user a file."""

import shutil

import pytest
from needs import needs_links

from u2net.models.zoo import find


@pytest.fixture
def work(tmp_path, photograph):
    """A data set, weights and notes in a folder, and what each file holds."""
    for name in (
        "set/images/a.jpg",
        "set/images/b.jpg",
        "set/masks/a.png",
        "set/masks/b.png",
        "README.md",
        "page.html",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    for name in ("one.onnx", "two.onnx"):
        shutil.copy(find("u2netp"), tmp_path / name)
    return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


PICTURES = ["set/images/a.jpg", "set/images/b.jpg"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["remove", *PICTURES, "-o", PICTURES[1]], "need a folder"),
        (["remove", PICTURES[0], "-o", PICTURES[0], "--overwrite"], "replace the picture itself"),
        (["remove", "set", "-o", "set"], "another folder"),
        (["remove", "set/images", "out", "--report", "set/masks/a.png"], "no report"),
        (["remove", "set/images", "out", "--report", "page.html"], "no report"),
        (["check-data", "set", "--sheet", *PICTURES], "a.jpg exists already"),
        (["check-data", "set", "--json", "README.md"], "README.md exists already"),
        (["evaluate", "set", "--sheet", *PICTURES], "a.jpg exists already"),
        (["evaluate", "set", "--csv", "README.md"], "README.md exists already"),
        (["evaluate", "set", "--plot", "set/masks/a.png"], "a.png exists already"),
        (["export", "one.onnx", "two.onnx"], "two.onnx exists already"),
        (["export", "one.onnx", "one.onnx", "--overwrite"], "the weights themselves"),
        (["train", "", "set"], "RUN is an empty name"),
        (["train", ".", "set"], "RUN is an empty name"),
        (["train", "set", "set"], "holds other files"),
    ],
)
def test_a_slip_costs_no_file(here, tmp_path, work, arguments, words):
    for extra, verb in (("torch", "export"), ("tensorboard", "train"), ("matplotlib", "evaluate")):
        if verb == arguments[0]:
            pytest.importorskip(extra)
    result = here(*arguments, cwd=tmp_path)
    assert result.returncode in (1, 2)
    assert words in result.stderr.decode()
    assert result.stderr.count(b"\n") == 1
    assert {path: path.read_bytes() for path in work} == work


def test_a_report_replaces_a_report(here, tmp_path, photograph):
    (tmp_path / "in").mkdir()
    shutil.copy(photograph, tmp_path / "in")
    for _ in range(2):
        ended = here("remove", "in", "out", "--report", "page.html", "--quality", "coarse", cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("lost", [False, True])
@needs_links
def test_a_link_in_a_strangers_folder_is_not_written_through(here, tmp_path, photograph, lost):
    precious = tmp_path / "precious.png"
    if not lost:
        precious.write_bytes(b"precious")
    (tmp_path / "theirs").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(photograph, tmp_path / f"{name[0]}.jpg")
        (tmp_path / "theirs" / name).symlink_to(precious)
    for arguments, words in (
        (["a.jpg", "theirs"], "a.png exists already"),
        (["a.jpg", "-o", "theirs/a.png"], "a.png exists already"),
        (["a.jpg", "theirs", "--overwrite"], "a.png is a link: give it with -o"),
        (["a.jpg", "b.jpg", "theirs"], "b.png exists already"),
    ):
        assert words in here("remove", *arguments, "--quality", "coarse", cwd=tmp_path).stderr.decode()
        assert (tmp_path / "theirs/a.png").is_symlink()
        assert precious.exists() is not lost


@needs_links
def test_a_link_that_is_named_is_written_through_and_permissions_stay(here, tmp_path, photograph):
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "real.png").chmod(0o600)
    (tmp_path / "link.png").symlink_to("real.png")
    done = here("remove", photograph, "-o", "link.png", "--overwrite", "--quality", "coarse", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes()[1:4] == b"PNG"
    assert (tmp_path / "real.png").stat().st_mode & 0o777 == 0o600


@needs_links
def test_a_folder_is_not_swept_or_filled_through_links(folder_here, tmp_path, photograph):
    for name in ("in/deep", "theirs", "mine"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(photograph, tmp_path / "in/deep/a.jpg")
    (tmp_path / "mine/.0123456789abcdef.part").write_bytes(b"precious")
    (tmp_path / "theirs/deep").symlink_to(tmp_path / "mine")
    for options in ([], ["--overwrite"]):
        done = folder_here("remove", "in", "theirs", "--quality", "coarse", "--strict", *options, cwd=tmp_path)
        assert done.returncode == 1
        assert b"theirs/deep is a link, and nothing is written through it" in done.stderr
        assert [path.name for path in (tmp_path / "mine").iterdir()] == [".0123456789abcdef.part"]
