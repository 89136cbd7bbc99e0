from pathlib import Path

import pytest
from needs import needs_links
from pictures import files

from u2net.cutout.batch.plan import assign_targets, folds_case, plan, plan_files


def _targets(folder: Path, output: Path, suffix: str = ".png") -> dict[str, str]:
    planned = plan(folder, output, suffix)
    assert not planned.failures
    return {
        task.source.relative_to(folder).as_posix(): task.target.relative_to(output).as_posix() for task in planned.tasks
    }


def test_the_sub_tree_is_kept(tmp_path):
    folder = files(tmp_path / "in", "a.jpg", "one/a.jpg", "one/two/a.jpg")
    assert _targets(folder, tmp_path / "out") == {
        "a.jpg": "a.png",
        "one/a.jpg": "one/a.png",
        "one/two/a.jpg": "one/two/a.png",
    }


def test_pictures_that_would_meet_keep_their_whole_names(tmp_path):
    folder = files(tmp_path / "in", "a.jpg", "a.png", "b.jpg")
    assert _targets(folder, tmp_path / "out") == {"a.jpg": "a.jpg.png", "a.png": "a.png.png", "b.jpg": "b.png"}


def test_names_that_differ_by_case_only_are_the_same_where_the_disk_says_so(tmp_path):
    pictures = {Path(name): Path(name) for name in ("a.jpg", "a.JPG", "B.jpg", "b.png")}
    apart, failures = assign_targets(pictures, ".png", folds_case=False)
    assert not failures
    assert list(map(str, apart.values())) == ["a.jpg.png", "a.JPG.png", "B.png", "b.png"]
    folded, failures = assign_targets(pictures, ".png", folds_case=True)
    assert list(map(str, folded.values())) == ["B.jpg.png", "b.png.png"]
    assert [failure.source.name for failure in failures] == ["a.jpg", "a.JPG"]


def test_where_output_is_no_disk_it_may_be_said_whether_case_counts(tmp_path):
    folder = files(tmp_path / "in", "a.jpg", "a.JPG")
    if (folder / "A.jpg").exists():
        pytest.skip("this disk folds case itself")
    assert len(plan(folder, Path("/dev/null"), ".png", case_folds=False).tasks) == 2
    assert len(plan(folder, Path("/dev/null"), ".png").failures) == 2


def test_whether_a_disk_folds_case_is_tried(tmp_path):
    (tmp_path / "a").touch()
    assert folds_case(tmp_path / "not/there/yet") == (tmp_path / "A").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_pictures_that_still_meet_are_all_reported_and_none_is_lost(tmp_path):
    folder = files(tmp_path / "in", "a.jpg", "a.webp", "a.jpg.gif", "c.png")
    planned = plan(folder, tmp_path / "out", ".png")
    made = {task.source.name for task in planned.tasks}
    reported = {failure.source.name for failure in planned.failures}
    assert made | reported == {"a.jpg", "a.webp", "a.jpg.gif", "c.png"}
    assert reported == {"a.jpg", "a.jpg.gif"}


@pytest.mark.parametrize("names", [("a.jpg", "a.png"), ("a.png",), ("x/a.png", "x/a.webp")])
def test_no_picture_of_the_folder_is_ever_a_target(tmp_path, names):
    folder = files(tmp_path, *names)
    before = {name: (folder / name).read_bytes() for name in names}
    for task in plan(folder, folder, ".png").tasks:
        task.target.write_bytes(b"new")
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_a_picture_that_would_replace_another_is_reported(tmp_path):
    folder = files(tmp_path, "a.png")
    planned = plan(folder, folder, ".png")
    assert planned.tasks == []
    assert "would replace" in planned.failures[0].reason


def test_an_output_folder_inside_the_input_is_not_input(tmp_path):
    folder = files(tmp_path, "a.jpg", "out/a.png", "out/deeper/b.png")
    assert _targets(folder, folder / "out") == {"a.jpg": "a.png"}


def test_what_is_a_picture_is_told_by_content_or_suffix_and_the_rest_is_counted(tmp_path):
    folder = files(tmp_path / "in", "a.jpg", "notes.txt", "b.TXT", "raw.dng", ".hidden.jpg", ".git/b.jpg", "no_suffix")
    (folder / "photo").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "raw.dng").write_bytes(b"II*\0")
    planned = plan(folder, tmp_path / "out", ".png")
    assert [task.target.name for task in planned.tasks] == ["a.png", "photo.png"]
    assert planned.left_alone == {".txt": 2, ".dng": 1, "": 1}


@needs_links
def test_links_are_followed_and_loops_of_links_end(tmp_path):
    elsewhere = files(tmp_path / "elsewhere", "b.jpg", "deep/c.jpg")
    folder = files(tmp_path / "in", "a.jpg", "x/d.jpg", "y/e.jpg")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "loop").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path)
    (folder / "x/there").symlink_to(folder / "y")
    (folder / "y/back").symlink_to(folder / "x")
    found = [task.source.relative_to(folder).as_posix() for task in plan(folder, tmp_path / "out", ".png").tasks]
    assert found == [
        *("a.jpg", "linked/b.jpg", "linked/deep/c.jpg"),
        *("x/d.jpg", "x/there/e.jpg", "y/e.jpg", "y/back/d.jpg"),
    ]


def test_named_pictures_go_beside_themselves_or_into_a_folder(tmp_path):
    folder = files(tmp_path, "a.jpg", "a.png", "x/b.jpg", "y/b.jpg", "c.png")
    sources = [folder / name for name in ("a.jpg", "a.png", "x/b.jpg", "y/b.jpg")]
    beside = plan_files(sources, None, ".png")
    assert [task.target.name for task in beside.tasks] == ["a.jpg.out.png", "a.png.out.png", "b.out.png", "b.out.png"]
    assert beside.tasks[0].target.parent == folder
    again = plan_files([folder / "a.jpg", folder / "x/../a.png"], None, ".png")
    assert [task.target.name for task in again.tasks] == ["a.jpg.out.png", "a.png.out.png"]
    into = plan_files(sources, folder / "out", ".png")
    assert [task.target.name for task in into.tasks] == ["a.jpg.png", "a.png.png"]
    assert [failure.source for failure in into.failures] == sources[2:]
    onto = plan_files([folder / "c.png"], folder, ".png")
    assert "would replace" in onto.failures[0].reason


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path, monkeypatch):
    folder = files(tmp_path / "in", "a.jpg", "locked/b.jpg")
    import os

    real = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    planned = plan(folder, tmp_path / "out", ".png")
    assert [task.source.name for task in planned.tasks] == ["a.jpg"]
    assert [(failure.source.name, failure.reason) for failure in planned.failures] == [("locked", "Permission denied")]
