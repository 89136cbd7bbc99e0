from pathlib import Path

import pytest

from u2net.cutout.batch.plan import plan


def _tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def _targets(folder: Path, output: Path, suffix: str = ".png") -> dict[str, str]:
    tasks, failures = plan(folder, output, suffix)
    assert not failures
    return {str(task.source.relative_to(folder)): str(task.target.relative_to(output)) for task in tasks}


def test_the_sub_tree_is_kept(tmp_path):
    folder = _tree(tmp_path / "in", "a.jpg", "one/a.jpg", "one/two/a.jpg")
    assert _targets(folder, tmp_path / "out") == {
        "a.jpg": "a.png",
        "one/a.jpg": "one/a.png",
        "one/two/a.jpg": "one/two/a.png",
    }


def test_pictures_that_would_meet_keep_their_whole_names(tmp_path):
    folder = _tree(tmp_path / "in", "a.jpg", "a.png", "b.jpg")
    assert _targets(folder, tmp_path / "out") == {"a.jpg": "a.jpg.png", "a.png": "a.png.png", "b.jpg": "b.png"}


def test_names_that_differ_by_case_only_count_as_the_same(tmp_path):
    folder = _tree(tmp_path / "in", "a.jpg", "A.png")
    assert len({name.casefold() for name in _targets(folder, tmp_path / "out").values()}) == 2


def test_pictures_that_still_meet_are_all_reported_and_none_is_lost(tmp_path):
    folder = _tree(tmp_path / "in", "a.jpg", "a.webp", "a.jpg.gif", "c.png")
    tasks, failures = plan(folder, tmp_path / "out", ".png")
    made = {task.source.name for task in tasks}
    reported = {failure.source.name for failure in failures}
    assert made | reported == {"a.jpg", "a.webp", "a.jpg.gif", "c.png"}
    assert reported == {"a.jpg", "a.jpg.gif"}


@pytest.mark.parametrize("names", [("a.jpg", "a.png"), ("a.png",), ("x/a.png", "x/a.webp")])
def test_no_picture_of_the_folder_is_ever_a_target(tmp_path, names):
    folder = _tree(tmp_path, *names)
    before = {name: (folder / name).read_bytes() for name in names}
    tasks, _ = plan(folder, folder, ".png")
    for task in tasks:
        task.target.write_bytes(b"new")
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_a_picture_that_would_replace_another_is_reported(tmp_path):
    folder = _tree(tmp_path, "a.png")
    tasks, failures = plan(folder, folder, ".png")
    assert tasks == []
    assert "would replace" in failures[0].reason


def test_an_output_folder_inside_the_input_is_not_input(tmp_path):
    folder = _tree(tmp_path, "a.jpg", "out/a.png", "out/deeper/b.png")
    assert _targets(folder, folder / "out") == {"a.jpg": "a.png"}


def test_other_files_and_hidden_ones_are_left_alone(tmp_path):
    folder = _tree(tmp_path / "in", "a.jpg", "notes.txt", ".hidden.jpg", ".git/b.jpg", "no_suffix")
    assert list(_targets(folder, tmp_path / "out")) == ["a.jpg"]


def test_a_loop_of_links_ends(tmp_path):
    folder = _tree(tmp_path / "in", "a.jpg")
    (folder / "loop").symlink_to(folder)
    assert list(_targets(folder, tmp_path / "out")) == ["a.jpg"]


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path, monkeypatch):
    folder = _tree(tmp_path / "in", "a.jpg", "locked/b.jpg")
    import os

    real = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    tasks, failures = plan(folder, tmp_path / "out", ".png")
    assert [task.source.name for task in tasks] == ["a.jpg"]
    assert [(failure.source.name, failure.reason) for failure in failures] == [("locked", "Permission denied")]
