import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
from needs import needs_proc, needs_signals

from cutout.batch.folders import QuickCutter, statuses, write_words
from u2net.cutout.batch import pool
from u2net.cutout.batch.plan import Task
from u2net.cutout.batch.pool import Attempts, Pool, num_workers
from u2net.errors import InvalidModel, WorkersDied


class BrokenCutter(QuickCutter):
    def open(self) -> None:
        raise InvalidModel("a broken model")


class DyingCutter(QuickCutter):
    def open(self) -> None:
        os._exit(3)


@pytest.fixture(scope="module")
def processes() -> Iterator[Pool]:
    """A pool of two, for tests that leave it as they found it."""
    with Pool(QuickCutter(), 2) as processes:
        yield processes


def _tasks(folder: Path, **words: str) -> list[Task]:
    return [Task(path, folder / f"{name}.png") for name, path in write_words(folder / "in", **words).items()]


def test_every_task_is_told_once_and_failures_take_nobody_with_them(processes, tmp_path):
    words = {f"p{i}": f"picture {i}" for i in range(12)} | {"b": "bad", "e": "empty"}
    outcomes = list(processes.run(_tasks(tmp_path, **words)))
    assert len(outcomes) == 14
    assert statuses(outcomes) == dict.fromkeys(words, "done") | {"b": "failed", "e": "skipped"}
    assert len(list(tmp_path.glob("*.png"))) == 12


def test_processes_are_at_work_at_once(tmp_path):
    tasks = _tasks(tmp_path, long="wait 60", **{f"p{i}": "quick" for i in range(6)})
    told = []
    with contextlib.suppress(KeyboardInterrupt), Pool(QuickCutter(), 2) as processes:
        for outcome in processes.run(tasks):
            told.append(outcome.source.stem)
            if len(told) == 6:
                raise KeyboardInterrupt  # the long one is not waited for
    assert told == [f"p{i}" for i in range(6)]


def test_no_task_is_asked_for_before_a_process_is_free(processes, tmp_path):
    asked = []
    tasks = _tasks(tmp_path, **{f"p{i}": "quick" for i in range(9)})
    for num_told, _ in enumerate(processes.run(asked.append(task) or task for task in tasks), 1):
        assert len(asked) <= num_told + 2


@needs_signals
def test_a_picture_that_kills_its_process_twice_has_failed_and_the_others_are_made(processes, tmp_path):
    words = {"killer": "kill"} | {f"p{i}": "wait 0.05" for i in range(6)}
    outcomes = list(processes.run(_tasks(tmp_path, **words)))
    assert statuses(outcomes) == dict.fromkeys(words, "done") | {"killer": "failed"}
    (reason,) = (outcome.reason for outcome in outcomes if outcome.status == "failed")
    assert "died twice (SIGKILL)" in reason


@needs_signals
def test_a_picture_whose_process_was_killed_by_another_is_made_after_all(processes, tmp_path):
    words = {"victim": f"kill-once {tmp_path / 'killed'}", "p": "quick"}
    outcomes = list(processes.run(_tasks(tmp_path, **words)))
    assert (tmp_path / "killed").exists()
    assert statuses(outcomes) == dict.fromkeys(words, "done")


@needs_signals
def test_what_killed_its_process_is_tried_again_while_no_other_is_at_work(tmp_path):
    words = {"killer": "kill"} | {f"p{i}": "wait 0.2" for i in range(4)}
    told, at_work = [], []
    begin = pool._Worker.begin

    def watch(worker, task, *, is_suspect=False):
        if is_suspect:
            at_work.append([other.task for other in processes._workers if other.task])
        begin(worker, task, is_suspect=is_suspect)

    with pytest.MonkeyPatch.context() as patch, Pool(QuickCutter(), 3) as processes:
        patch.setattr(pool._Worker, "begin", watch)
        told += processes.run(_tasks(tmp_path, **words))
    assert len(told) == 5
    assert at_work == [[]]


def test_a_model_that_cannot_be_opened_is_told_as_by_the_library():
    with pytest.raises(InvalidModel, match="a broken model"), Pool(BrokenCutter(), 2) as processes:
        list(processes.run(repeat(None)))


def test_processes_that_die_before_they_are_ready_are_not_begun_for_ever():
    with pytest.raises(WorkersDied, match="exit code 3"), Pool(DyingCutter(), 2) as processes:
        list(processes.run(repeat(None)))


def test_a_mistake_in_the_program_is_not_reported_as_a_bad_picture(tmp_path):
    with pytest.raises(ZeroDivisionError) as caught, Pool(QuickCutter(), 1) as processes:
        list(processes.run(_tasks(tmp_path, a="bug")))
    assert "in __call__" in caught.value.__notes__[0]


def test_where_there_is_nothing_to_do_for_the_moment_it_is_asked_again(processes, tmp_path):
    (task,) = _tasks(tmp_path, a="picture")
    (outcome,) = processes.run(chain([None, None], [task], [None]))
    assert outcome.status == "done"


@needs_signals
def test_processes_hear_no_interruption_and_end_with_the_pool(tmp_path):
    with Pool(QuickCutter(), 1) as processes:
        (worker,) = processes._workers
        pid = worker._process.pid
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        (outcome,) = processes.run(_tasks(tmp_path, a="picture"))
    assert outcome.status == "done"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@needs_proc
def test_processes_do_not_outlive_who_began_them(tmp_path):
    code = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from cutout.batch.folders import QuickCutter
from u2net.cutout.batch.pool import Pool
if __name__ == "__main__":
    with Pool(QuickCutter(), 1) as processes:
        print(processes._workers[0]._process.pid, flush=True)
        os.kill(os.getpid(), 9)
"""
    (tmp_path / "killed.py").write_text(code)
    result = subprocess.run([sys.executable, tmp_path / "killed.py"], capture_output=True, text=True)
    status = Path(f"/proc/{int(result.stdout)}/stat")

    def has_ended() -> bool:
        return not status.exists() or " Z " in status.read_text()

    deadline = time.monotonic() + 20
    while not has_ended() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert has_ended()


@pytest.mark.parametrize(("memory", "num_tasks", "expected"), [(None, None, 8), (3 * 2**30, None, 3), (1, 9, 1)])
def test_there_are_as_many_processes_as_processors_memory_and_tasks_allow(monkeypatch, memory, num_tasks, expected):
    monkeypatch.setattr(pool, "num_processors", lambda: 8)
    monkeypatch.setattr(pool, "available_memory", lambda: memory)
    assert num_workers(num_tasks) == expected
    assert num_workers(1) == 1


def test_a_picture_counts_each_process_that_began_it_and_came_to_no_other():
    attempts = Attempts()
    assert [attempts.begin(process, "bad") for process in ("one", "two", "three")] == [1, 2, 3]


def test_a_picture_whose_process_went_on_is_begun_for_the_first_time_again():
    attempts = Attempts()
    assert [attempts.begin("one", name) for name in ("good", "other", "good")] == [1, 1, 1]


def test_what_a_process_lived_through_clears_the_deaths_before():
    attempts = Attempts()
    attempts.begin("one", "heavy")
    attempts.begin("two", "heavy")
    attempts.begin("two", "other")
    assert attempts.begin("three", "heavy") == 1


def test_pictures_are_counted_apart():
    attempts = Attempts()
    attempts.begin("one", "bad")
    attempts.begin("two", "worse")
    assert (attempts.begin("three", "bad"), attempts.begin("four", "worse")) == (2, 2)


def test_nothing_is_kept_of_pictures_that_were_gone_on_from():
    attempts = Attempts()
    for i in range(100):
        attempts.begin("one", str(i))
    assert (dict(attempts._times), attempts._at) == ({"99": 1}, {"one": "99"})
