import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from cutout.batch.folders import QuickCutter, digest
from u2net.cutout.batch.plan import Task, make

CUTTER = QuickCutter()


@pytest.fixture
def task(tmp_path) -> Task:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    return Task(tmp_path / "a.jpg", tmp_path / "deep/a.png")


def test_a_file_is_made_and_what_shows_that_it_still_holds_is_told(task):
    outcome = make(CUTTER, task)
    assert task.target.read_bytes() == b"erutcip"
    assert (outcome.status, outcome.confidence, outcome.size) == ("done", 0.9, 7)
    assert outcome.sha256 == hashlib.sha256(b"picture").hexdigest()
    assert outcome.target_sha256 == hashlib.sha256(b"erutcip").hexdigest()
    assert outcome.mtime_ns == task.source.stat().st_mtime_ns
    assert list(task.target.parent.iterdir()) == [task.target]


@pytest.mark.parametrize(("content", "status"), [(b"bad", "failed"), (b"empty", "skipped")])
def test_no_file_is_made_of_what_is_not_cut_out(task, content, status):
    task.source.write_bytes(content)
    outcome = make(CUTTER, task)
    assert (outcome.status, outcome.target_sha256) == (status, "")
    assert not task.target.exists()


def test_a_picture_that_was_only_touched_stays_as_it_is(task):
    before = make(CUTTER, task)
    made = task.target.stat()
    task.source.write_bytes(b"picture")
    outcome = make(CUTTER, replace(task, before=before))
    assert outcome == replace(before, mtime_ns=task.source.stat().st_mtime_ns)
    assert task.target.stat().st_mtime_ns == made.st_mtime_ns


def test_a_picture_that_changed_is_made_again(task):
    before = make(CUTTER, task)
    task.source.write_bytes(b"another")
    assert make(CUTTER, replace(task, before=before)).status == "done"
    assert task.target.read_bytes() == b"rehtona"


def test_what_somebody_made_of_a_cut_out_is_not_replaced(task):
    before = make(CUTTER, task)
    task.target.write_bytes(b"retouched by hand")
    task.source.write_bytes(b"another")
    outcome = make(CUTTER, replace(task, before=before))
    assert (outcome.status, task.target.read_bytes()) == ("failed", b"retouched by hand")
    assert "--overwrite" in outcome.reason


def test_a_picture_that_breaks_later_leaves_its_file_and_may_replace_it_when_mended(task):
    before = make(CUTTER, task)
    task.source.write_bytes(b"bad")
    broken = make(CUTTER, replace(task, before=before))
    assert (broken.status, broken.target_sha256) == ("failed", digest(task.target))
    task.source.write_bytes(b"mended")
    assert make(CUTTER, replace(task, before=broken)).status == "done"
    assert task.target.read_bytes() == b"dednem"


def test_a_picture_that_grows_while_it_is_read_is_not_cut_out(task, monkeypatch):
    from u2net.cutout.batch import plan as module

    def read(path: Path) -> bytes:
        content = path.read_bytes()
        path.write_bytes(content + b" and more")
        return content

    monkeypatch.setattr(module, "read_encoded", read)
    outcome = make(CUTTER, task)
    assert (outcome.status, outcome.reason) == ("failed", "changed while it was read")
    assert not task.target.exists()


def test_a_file_that_cannot_be_written_is_named(task):
    task.target.parent.write_bytes(b"a file where a folder should be")
    outcome = make(CUTTER, task)
    assert (outcome.status, outcome.confidence) == ("failed", None)
    assert str(task.target.parent) in outcome.reason


def test_a_source_that_is_gone_is_one_line_without_its_name(task):
    task.source.unlink()
    assert make(CUTTER, task).reason == "No such file or directory"
