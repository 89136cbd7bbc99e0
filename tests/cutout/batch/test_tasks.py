import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from needs import in_posix_words, needs_fifos, needs_links

from cutout.batch.folders import QuickCutter, digest
from u2net.cutout.batch.journal import Journal
from u2net.cutout.batch.plan import Outcome, Task
from u2net.cutout.batch.tasks import do_tasks, look_up, make


class Place:
    """A folder of one picture, whose cut-out is made by runs that may be cut off."""

    def __init__(self, root: Path) -> None:
        self.folder, self.output = root / "in", root / "out"
        self.folder.mkdir()
        self.task = Task(self.folder / "a.jpg", self.output / "a.png")
        self.task.source.write_bytes(b"picture")

    def journal(self, *, overwrite: bool = False) -> Journal:
        return Journal(self.output, self.folder, {}, overwrite=overwrite)

    def run(self, *, overwrite: bool = False) -> Task | Outcome:
        """What there was to do, after it was done."""
        with self.journal(overwrite=overwrite) as journal:
            item = look_up(self.task, journal, overwrite=overwrite)
            tasks = [item] if isinstance(item, Task) else []
            do_tasks(tasks, journal, lambda tasks: (make(QuickCutter(), task) for task in tasks if task), [].append)
            journal.end()
        return item

    def next(self, *, overwrite: bool = False) -> Task | Outcome:
        """What there is to do."""
        with self.journal(overwrite=overwrite) as journal:
            return look_up(self.task, journal, overwrite=overwrite)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_a_new_picture_is_a_task(place):
    assert place.next() == place.task


def test_what_was_done_is_done(place):
    place.run()
    known = place.next()
    assert (known.status, known.reason, known.confidence) == ("skipped", "done before", 0.9)


@pytest.mark.parametrize("name", ["in/other.jpg", "other.png", "a.jpg", "sub/a.png"])
def test_a_journal_does_not_choose_which_file_is_replaced(place, name):
    """As that of a stranger would, who knows the digest of what is there: the pictures may lie in the folder."""
    taken = place.output / name
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"theirs")
    with place.journal() as journal:
        journal.finish(Outcome(place.task.source, taken, "failed", "room", target_sha256=digest(taken)))
    assert place.run() == place.task
    assert taken.read_bytes() == b"theirs"


def test_a_file_keeps_the_name_that_it_got_beside_another_picture(place):
    place.task = replace(place.task, target=place.output / "a.jpg.png")
    place.run()
    place.task = replace(place.task, target=place.output / "a.png")
    assert place.next().target == place.output / "a.jpg.png"


def test_what_was_done_is_a_task_again_with_overwrite(place):
    place.run()
    assert place.next(overwrite=True) == place.task


def test_a_file_that_somebody_removed_is_made_again(place):
    place.run()
    place.task.target.unlink()
    assert isinstance(place.next(), Task)


@pytest.mark.parametrize("change", [b"another", b"another length"])
def test_a_picture_that_changed_is_a_task_that_knows_what_was_before(place, change):
    place.run()
    place.task.source.write_bytes(change)
    os.utime(place.task.source, ns=(0, 10**18))
    assert place.next().before.status == "done"


def test_a_picture_without_a_subject_is_not_looked_at_again(place):
    place.task.source.write_bytes(b"empty")
    place.run()
    assert (place.next().status, place.next().confidence) == ("skipped", 0.03)


def test_a_failure_is_tried_again(place):
    place.task.source.write_bytes(b"bad")
    place.run()
    assert isinstance(place.next(), Task)


def test_a_file_of_somebody_else_is_not_replaced(place):
    place.output.mkdir()
    place.task.target.write_bytes(b"mine")
    for _ in range(2):
        assert "is there already" in place.run().reason
    assert place.task.target.read_bytes() == b"mine"
    place.run(overwrite=True)
    assert place.task.target.read_bytes() == b"erutcip"


def test_a_file_of_which_nobody_told_is_made_again_where_it_was_begun(place):
    """Killed between the file and its line in the journal."""
    with place.journal() as journal:
        journal.begin(place.task.source)
    place.task.target.write_bytes(b"whole, but not told of")
    assert place.run() == place.task
    assert place.task.target.read_bytes() == b"erutcip"


def test_a_file_keeps_its_name_when_another_picture_would_have_it_too(place):
    place.run()
    place.task = replace(place.task, target=place.output / "a.jpg.png")
    assert place.next().target == place.output / "a.png"
    place.task.source.write_bytes(b"another picture")
    assert place.next().target == place.output / "a.png"


@needs_links
def test_nothing_is_written_through_a_link_in_a_strangers_folder(place, tmp_path):
    """Whatever its journal says: that the picture was begun, or that its file is ours."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.png").write_bytes(b"precious")
    with place.journal() as journal:
        journal.begin(place.task.source)
    place.task.target.symlink_to(tmp_path / "mine/a.png")
    assert place.run().status == "skipped"
    assert place.run(overwrite=True) == place.task
    assert (place.task.target.is_symlink(), place.task.target.read_bytes()) == (False, b"erutcip")

    (place.output / "deep").symlink_to(tmp_path / "mine")
    place.task = replace(place.task, source=place.folder / "deep/a.jpg", target=place.output / "deep/a.png")
    place.task.source.parent.mkdir()
    place.task.source.write_bytes(b"picture")
    for overwrite in (False, True):
        outcome = place.run(overwrite=overwrite)
        assert (outcome.status, outcome.reason) == (
            "failed",
            f"{place.output}/deep is a link, and nothing is written through it",
        )
    place.task = replace(place.task, target=place.output / "deep/deeper/b.png")
    assert place.run().status == "failed"
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["a.png"]
    assert (tmp_path / "mine/a.png").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(lambda path: os.mkfifo(path), marks=needs_fifos),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), marks=needs_links),
        os.mkdir,
    ],
)
def test_what_is_no_file_is_not_read_to_see_whether_it_was_changed(place, put):
    place.run()
    place.task.source.write_bytes(b"another")
    place.task.target.unlink()
    put(place.task.target)
    place.run()
    with place.journal() as journal:
        assert "was changed since it was made" in journal.outcome_of(place.task.source).reason


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
    from u2net.cutout.batch import tasks as module

    def read(path: Path, _limits: object) -> bytes:
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


@in_posix_words
def test_a_source_that_is_gone_is_one_line_without_its_name(task):
    task.source.unlink()
    assert make(CUTTER, task).reason == "No such file or directory"
