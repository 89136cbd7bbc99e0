import os
from dataclasses import replace
from pathlib import Path

import pytest

from cutout.batch.folders import QuickCutter
from u2net.cutout.batch.folder import cut_out, look_up, sweep
from u2net.cutout.batch.journal import Journal
from u2net.cutout.batch.plan import Job, Outcome, Task, make


class Place:
    """A folder of one picture, whose cut-out is made by runs that may be cut off."""

    def __init__(self, root: Path) -> None:
        self.folder, self.output = root / "in", root / "out"
        self.folder.mkdir()
        self.job = Job(self.folder / "a.jpg", self.output / "a.png")
        self.job.source.write_bytes(b"picture")

    def journal(self, *, overwrite: bool = False) -> Journal:
        return Journal(self.output, self.folder, {}, overwrite=overwrite)

    def run(self, *, overwrite: bool = False) -> Task | Outcome:
        """What there was to do, after it was done."""
        with self.journal(overwrite=overwrite) as journal:
            item = look_up(self.job, journal, overwrite=overwrite)
            tasks = [item] if isinstance(item, Task) else []
            cut_out(tasks, journal, lambda tasks: (make(QuickCutter(), task) for task in tasks if task), [].append)
            journal.end()
        return item

    def next(self, *, overwrite: bool = False) -> Task | Outcome:
        """What there is to do."""
        with self.journal(overwrite=overwrite) as journal:
            return look_up(self.job, journal, overwrite=overwrite)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_a_new_picture_is_a_task(place):
    assert place.next() == Task(*_ends(place.job))


def _ends(job: Job) -> tuple[Path, Path]:
    return job.source, job.target


def test_what_was_done_is_done(place):
    place.run()
    known = place.next()
    assert (known.status, known.reason, known.confidence) == ("skipped", "done before", 0.9)


def test_what_was_done_is_a_task_again_with_overwrite(place):
    place.run()
    assert place.next(overwrite=True) == Task(*_ends(place.job))


def test_a_file_that_somebody_removed_is_made_again(place):
    place.run()
    place.job.target.unlink()
    assert isinstance(place.next(), Task)


@pytest.mark.parametrize("change", [b"another", b"another length"])
def test_a_picture_that_changed_is_a_task_that_knows_what_was_before(place, change):
    place.run()
    place.job.source.write_bytes(change)
    os.utime(place.job.source, ns=(0, 10**18))
    assert place.next().before.status == "done"


def test_a_picture_without_a_subject_is_not_looked_at_again(place):
    place.job.source.write_bytes(b"empty")
    place.run()
    assert (place.next().status, place.next().confidence) == ("skipped", 0.03)


def test_a_failure_is_tried_again(place):
    place.job.source.write_bytes(b"bad")
    place.run()
    assert isinstance(place.next(), Task)


def test_a_file_of_somebody_else_is_not_replaced(place):
    place.output.mkdir()
    place.job.target.write_bytes(b"mine")
    for _ in range(2):
        assert "is there already" in place.run().reason
    assert place.job.target.read_bytes() == b"mine"
    place.run(overwrite=True)
    assert place.job.target.read_bytes() == b"erutcip"


def test_a_file_of_which_nobody_told_is_made_again_where_it_was_begun(place):
    """Killed between the file and its line in the journal."""
    with place.journal() as journal:
        journal.begin(place.job.source)
    place.job.target.write_bytes(b"whole, but not told of")
    assert place.run() == Task(*_ends(place.job))
    assert place.job.target.read_bytes() == b"erutcip"


def test_a_file_keeps_its_name_when_another_picture_would_have_it_too(place):
    place.run()
    place.job = replace(place.job, target=place.output / "a.jpg.png")
    assert place.next().target == place.output / "a.png"
    place.job.source.write_bytes(b"another picture")
    assert place.next().target == place.output / "a.png"


def test_what_killed_writers_left_is_swept_away_and_nothing_else(tmp_path):
    for name in (".0123456789abcdef.part", ".part", "0123456789abcdef.part", ".0123456789abcdeg.part", "a.png"):
        (tmp_path / name).touch()
    sweep([tmp_path, tmp_path / "not there"])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".part", "0123456789abcdef.part", ".0123456789abcdeg.part", "a.png"}
