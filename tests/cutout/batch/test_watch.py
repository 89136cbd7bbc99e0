import contextlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2net.cutout.batch import watch
from u2net.cutout.batch.plan import Outcome, plan
from u2net.cutout.batch.watch import Arrivals
from u2net.errors import InvalidImage
from u2net.images.load import load_image

POLL_S, PATIENCE_S = 1.0, 30.0


class Drop:
    """A watched folder under a clock of its own."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder, self.now, self.told = folder, 0.0, []
        monkeypatch.setattr(watch.time, "monotonic", lambda: self.now)
        self.arrivals = Arrivals(
            lambda: plan(folder, folder.parent / "out", ".png"),
            lambda task: task,
            self.told.append,
            poll_s=POLL_S,
            patience_s=PATIENCE_S,
        )
        self._tasks = iter(self.arrivals)

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        # Clocks of disks tick slowly: two changes at once would look like one.
        os.utime(path, ns=(0, round(1e9 * self.now) + len(content)))
        return path

    def wait(self, seconds: float) -> list[str]:
        """The names of pictures that are taken meanwhile."""
        taken, until = [], self.now + seconds
        while self.now < until:
            task = next(self._tasks)
            if task is None:
                self.now += 0.25
            else:
                taken.append(task.source.name)
        return taken

    def settle(self, name: str, *, failed: bool) -> bool:
        status, confidence = ("failed", None) if failed else ("done", 0.9)
        return self.arrivals.settle(Outcome(self.folder / name, None, status, confidence=confidence))


@pytest.fixture
def drop(tmp_path, monkeypatch) -> Drop:
    (tmp_path / "in").mkdir()
    return Drop(tmp_path / "in", monkeypatch)


def test_a_picture_is_taken_once_when_it_stands_unchanged(drop):
    drop.write("a.jpg", b"whole")
    assert drop.wait(0.75) == []
    assert drop.wait(3) == ["a.jpg"]
    assert drop.settle("a.jpg", failed=False)
    assert drop.wait(100) == []


def test_a_file_that_grows_is_not_taken_before_it_stands_still(drop):
    for length in range(1, 20):
        drop.write("a.jpg", b"x" * length)
        assert drop.wait(0.75) == []
    assert drop.wait(3) == ["a.jpg"]


def test_a_copy_that_pauses_is_tried_again_when_it_is_whole_and_its_failure_not_told(drop):
    drop.write("a.jpg", b"half")
    assert drop.wait(3) == ["a.jpg"]
    assert not drop.settle("a.jpg", failed=True)
    assert drop.wait(PATIENCE_S / 2) == []
    drop.write("a.jpg", b"half, and the other half")
    assert drop.wait(3) == ["a.jpg"]
    assert drop.settle("a.jpg", failed=False)


def test_what_never_becomes_whole_is_told_once(drop):
    drop.write("a.jpg", b"broken")
    assert drop.wait(3) == ["a.jpg"]
    assert not drop.settle("a.jpg", failed=True)
    assert drop.wait(PATIENCE_S + 3) == ["a.jpg"]
    assert drop.settle("a.jpg", failed=True)
    assert drop.wait(10 * PATIENCE_S) == []


def test_a_file_whose_place_was_kept_with_zeros_is_waited_for(drop):
    drop.write("a.jpg", b"begun" + bytes(1000))
    assert drop.wait(PATIENCE_S - 1) == []
    drop.write("a.jpg", b"begun and ended" * 70)
    assert drop.wait(3) == ["a.jpg"]


def test_a_picture_that_ends_in_a_few_zeros_is_not_waited_for(drop):
    drop.write("a.bmp", b"black" + bytes(60))
    assert drop.wait(3) == ["a.bmp"]


def test_a_picture_that_ends_in_zeros_for_good_is_taken_in_the_end(drop):
    drop.write("a.bmp", b"black" + bytes(1000))
    assert drop.wait(PATIENCE_S + 3) == ["a.bmp"]


def test_a_picture_that_changes_later_is_taken_again(drop):
    drop.write("a.jpg", b"one")
    assert drop.wait(3) == ["a.jpg"]
    drop.settle("a.jpg", failed=False)
    drop.write("a.jpg", b"another")
    assert drop.wait(3) == ["a.jpg"]


@pytest.mark.parametrize("temporary", [".a.jpg.swp", "a.jpg.part", "a.jpg~", "a.tmp"])
def test_a_name_that_editors_write_to_first_is_not_taken(drop, temporary):
    path = drop.write(temporary, b"content")
    assert drop.wait(5) == []
    path.rename(drop.folder / "a.jpg")
    assert drop.wait(3) == ["a.jpg"]


def test_a_picture_that_goes_again_is_forgotten(drop):
    path = drop.write("a.jpg", b"content")
    assert drop.wait(3) == ["a.jpg"]
    path.unlink()
    assert not drop.settle("a.jpg", failed=True)
    assert drop.wait(3) == []
    drop.write("a.jpg", b"content")
    assert drop.wait(3) == ["a.jpg"]


def test_what_is_wrong_with_names_is_told_once(drop):
    for name in ("a.jpg", "a.webp", "a.jpg.gif"):
        drop.write(name, b"content")
    drop.wait(9)
    assert sorted(outcome.source.name for outcome in drop.told) == ["a.jpg", "a.jpg.gif"]


def test_what_is_known_of_a_picture_is_told_once(drop):
    path = drop.write("a.jpg", b"content")
    drop.arrivals._look_up = lambda task: Outcome(task.source, task.target, "skipped", "done before")
    assert drop.wait(9) == []
    assert [outcome.source for outcome in drop.told] == [path]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WebP", {}),
        ("WebP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("AVIF", {}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_wherever_a_file_is_cut_off_it_decodes_as_the_whole_or_not_at_all(kind, options):
    """What a copy that pauses for longer than the time between two looks must not come out as."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind, **options)
    content = buffer.getvalue()
    whole = load_image(content).rgb.tobytes()
    for length in range(0, len(content), 1 + len(content) // 400):
        with contextlib.suppress(InvalidImage):
            assert load_image(content[:length]).rgb.tobytes() == whole
