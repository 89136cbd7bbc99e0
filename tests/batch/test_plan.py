import signal
import threading
import time
from pathlib import Path

import pytest

from u2net.batch import Job, plan
from u2net.batch.run import run
from u2net.errors import InvalidImage, NoSubject


def _tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def _targets(folder: Path, output: Path, suffix: str = ".png") -> dict[str, str]:
    jobs, failures = plan(folder, output, suffix)
    assert not failures
    return {str(j.source.relative_to(folder)): str(j.target.relative_to(output)) for j in jobs}


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


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
    jobs, failures = plan(folder, tmp_path / "out", ".png")
    made = {job.source.name for job in jobs}
    reported = {failure.source.name for failure in failures}
    assert made | reported == {"a.jpg", "a.webp", "a.jpg.gif", "c.png"}
    assert reported == {"a.jpg", "a.jpg.gif"}


@pytest.mark.parametrize("names", [("a.jpg", "a.png"), ("a.png",), ("x/a.png", "x/a.webp")])
def test_no_picture_of_the_folder_is_ever_a_target(tmp_path, names):
    folder = _tree(tmp_path, *names)
    before = {name: (folder / name).read_bytes() for name in names}
    jobs, _ = plan(folder, folder, ".png")
    list(run(jobs, lambda _, target: target.write_bytes(b"new"), overwrite=True))
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_a_picture_that_would_replace_another_is_reported(tmp_path):
    folder = _tree(tmp_path, "a.png")
    jobs, failures = plan(folder, folder, ".png")
    assert jobs == []
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
    jobs, failures = plan(folder, tmp_path / "out", ".png")
    assert [job.source.name for job in jobs] == ["a.jpg"]
    assert [(failure.source.name, failure.reason) for failure in failures] == [("locked", "Permission denied")]


def test_what_is_there_is_skipped_unless_overwriting(tmp_path):
    job = Job(_tree(tmp_path, "a.jpg") / "a.jpg", tmp_path / "a.png")
    job.target.write_bytes(b"old")
    (skipped,) = run([job], _copy, overwrite=False)
    assert (skipped.status, job.target.read_bytes()) == ("skipped", b"old")
    (done,) = run([job], _copy, overwrite=True)
    assert (done.status, job.target.read_bytes()) == ("done", b"a.jpg")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidImage("broken PNG picture"), "broken PNG picture"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_one_failure_does_not_stop_the_others(tmp_path, error, reason, workers):
    folder = _tree(tmp_path / "in", "a.jpg", "b.jpg", "c.jpg")

    def make(source: Path, target: Path) -> None:
        if source.name == "b.jpg":
            raise error
        _copy(source, target)

    jobs, _ = plan(folder, tmp_path / "out", ".png")
    outcomes = list(run(jobs, make, overwrite=False, workers=workers))
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert outcomes[1].reason == reason
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


def test_two_workers_are_at_work_at_once_and_outcomes_keep_their_order(tmp_path):
    folder = _tree(tmp_path / "in", *(f"{i}.jpg" for i in range(6)))
    jobs, _ = plan(folder, tmp_path / "out", ".png")
    together = threading.Barrier(2, timeout=10)
    outcomes = list(run(jobs, lambda *_: together.wait() and None, overwrite=False, workers=2))
    assert [outcome.source for outcome in outcomes] == [job.source for job in jobs]
    assert {outcome.status for outcome in outcomes} == {"done"}


def test_no_more_pictures_are_begun_than_there_are_workers(tmp_path):
    folder = _tree(tmp_path / "in", *(f"{i}.jpg" for i in range(9)))
    jobs, _ = plan(folder, tmp_path / "out", ".png")
    begun = []
    outcomes = run(jobs, lambda source, _: begun.append(source), overwrite=False, workers=2)
    next(outcomes)
    outcomes.close()
    assert len(begun) <= 3


def test_what_is_begun_is_told_before_an_interruption_goes_on(tmp_path):
    folder = _tree(tmp_path / "in", *(f"{i}.jpg" for i in range(9)))
    jobs, _ = plan(folder, tmp_path / "out", ".png")
    main, told, together = threading.main_thread(), [], threading.Barrier(2, timeout=10)

    def make(source: Path, target: Path) -> None:
        together.wait()
        if source.name == "0.jpg":
            time.sleep(0.2)  # until the main thread waits for what comes of it
            signal.pthread_kill(main.ident, signal.SIGINT)
            time.sleep(0.2)
        _copy(source, target)

    def listen() -> None:
        for outcome in run(jobs, make, overwrite=False, workers=2):
            told.append(outcome)  # noqa: PERF402

    with pytest.raises(KeyboardInterrupt):
        listen()
    assert [outcome.status for outcome in told] == ["done", "done"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png"]


def test_one_worker_is_the_callers_own_thread(tmp_path):
    job = Job(_tree(tmp_path, "a.jpg") / "a.jpg", tmp_path / "a.png")
    threads = []
    list(run([job], lambda *_: threads.append(threading.current_thread()), overwrite=False))
    assert threads == [threading.current_thread()]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_in_the_program_is_not_reported_as_a_bad_picture(tmp_path, workers):
    job = Job(_tree(tmp_path, "a.jpg") / "a.jpg", tmp_path / "a.png")
    with pytest.raises(ZeroDivisionError):
        list(run([job], lambda *_: 1 / 0, overwrite=False, workers=workers))


@pytest.mark.parametrize("status", ["skipped", "failed"])
def test_pictures_without_a_subject_count_as_asked(tmp_path, status):
    def make(_source: Path, _target: Path) -> float:
        raise NoSubject(0.034)

    (outcome,) = run([Job(tmp_path / "a.jpg", tmp_path / "a.png")], make, overwrite=False, empty=status)
    assert (outcome.status, outcome.confidence) == (status, 0.034)
    assert outcome.reason == "no subject found (confidence 0.03)"


def test_the_confidence_of_what_was_done_is_told(tmp_path):
    (outcome,) = run([Job(tmp_path / "a.jpg", tmp_path / "a.png")], lambda *_: 0.8, overwrite=False)
    assert (outcome.status, outcome.confidence) == ("done", 0.8)
