import errno
import json
import logging
import os
import shutil
import tarfile

import pytest
from PIL import Image

from training.pairs import write_pair
from u2net.evaluation.dataset import Source
from u2net.training import loop
from u2net.training.loop import train

pytestmark = pytest.mark.usefixtures("lean")


@pytest.fixture
def told(configured, tmp_path, caplog):
    """Trains for two more steps, and returns what is said of the data."""
    num_steps = 0

    def go_on(**fields) -> list[str]:
        nonlocal num_steps
        num_steps += 2
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            train(configured(max_steps=num_steps, **{"holdout": 0.0, **fields}), tmp_path / "run")
        return caplog.messages

    return go_on


def test_a_picture_that_is_added_is_told_in_one_line_and_once(told, root):
    assert told() == []
    write_pair(root, "new", seed=99)
    assert told() == ["the data is not as this run left it: 1 added (set/new); it goes on with what is there now"]
    assert told() == []


def test_pictures_that_are_gone_or_changed_are_told_too(told, root):
    told()
    for index in range(4):
        (root / f"images/picture-{index:02}.png").unlink()
        (root / f"masks/picture-{index:02}.png").unlink()
    Image.new("L", (40, 32)).save(root / "masks/picture-07.png")
    (line,) = told()
    assert "4 gone (set/picture-00, set/picture-01, set/picture-02, …), 1 changed (set/picture-07);" in line


def test_a_pair_that_changes_sides_is_told(told, root):
    told(holdout=0.5)
    used = json.loads((root.parent / "run/data.json").read_text())
    assert (len(used["training"]), len(used["validation"])) == (4, 4)
    for name in list(used["validation"])[:2]:
        (root / f"masks/{name.removeprefix('set/')}.png").unlink()
        (root / f"images/{name.removeprefix('set/')}.png").unlink()
    (line,) = told(holdout=0.5)
    assert "2 gone" in line
    assert "1 trained on before, now validated on (set/picture-" in line


def test_a_member_of_an_archive_is_told_where_it_changed(told, root, configured, tmp_path):
    def pack() -> tuple[str]:
        with tarfile.open(tmp_path / "set.tar", "w") as archive:
            archive.add(root, "set")
        return (str(tmp_path / "set.tar"),)

    told(data=pack())
    assert told(data=pack()) == []
    Image.new("L", (40, 32)).save(root / "masks/picture-07.png")
    assert "1 changed (set/picture-07)" in told(data=pack())[0]


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that are read for their digest, or decoded."""
    names: list[str] = []
    really = Source.read
    monkeypatch.setattr(Source, "read", lambda source: names.append(source.name.name) or really(source))
    return names


def _change_a_pixel(path) -> None:
    """Change a file's last byte, and leave its size and its time."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        (value,) = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([value ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("cache", ["none", "disk", "memory"])
@pytest.mark.parametrize("holdout", [0.0, 0.9])
def test_other_content_of_the_same_size_and_time_is_told(told, root, cache, holdout):
    path = root / "images/picture-07.png"
    Image.open(path).save(path.with_suffix(".bmp"))
    path.unlink()
    told(cache=cache, holdout=holdout)
    _change_a_pixel(path.with_suffix(".bmp"))
    (line,) = told(cache=cache, holdout=holdout)
    assert "1 changed (set/picture-07);" in line
    assert told(cache=cache, holdout=holdout) == []


def test_a_member_of_an_archive_is_told_by_its_content(told, root, tmp_path):
    path = root / "images/picture-07.png"
    Image.open(path).save(path.with_suffix(".bmp"))
    path.unlink()
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(root, "set")
    told(data=(str(tmp_path / "set.tar"),))
    content = path.with_suffix(".bmp").read_bytes()
    whole = (tmp_path / "set.tar").read_bytes()
    (tmp_path / "set.tar").write_bytes(whole.replace(content, content[:-1] + bytes([content[-1] ^ 1])))
    os.utime(tmp_path / "set.tar", ns=(0, 0))
    assert "1 changed (set/picture-07)" in told(data=(str(tmp_path / "set.tar"),))[0]


def test_files_that_were_only_touched_or_copied_are_not_told(told, root):
    told()
    shutil.copytree(root, root.parent / "copy")
    shutil.rmtree(root)
    shutil.copytree(root.parent / "copy", root, copy_function=shutil.copyfile)
    assert told() == []


def test_untouched_files_are_not_read_for_their_digests(told, reads):
    told()
    reads.clear()
    told()
    assert len(reads) == 2 * 2 * 2  # the pairs of two steps


@pytest.mark.parametrize("on_bad", ["fail", "skip"])
def test_a_picture_that_cannot_be_read_is_not_taken_for_broken(told, monkeypatch, root, on_bad):
    def refuse(source):
        raise OSError(errno.ESTALE, "stale file handle", str(source.path))

    with monkeypatch.context() as patch:
        patch.setattr(Source, "read", refuse)
        with pytest.raises(OSError, match="stale"):
            told(on_bad=on_bad)
    assert told(on_bad=on_bad) == []
    assert len(json.loads((root.parent / "run/data.json").read_text())["training"]) == 8


@pytest.mark.parametrize("record", [None, "[]", "{}", '{"training": 1}', "cut o"])
def test_a_run_without_a_sound_record_goes_on_and_gets_one(told, root, record):
    told()
    path = root.parent / "run/data.json"
    path.unlink()
    if record:
        path.write_text(record)
    os.utime(root / "masks/picture-00.png", (0, 0))
    assert told() == []
    assert len(json.loads(path.read_text())["training"]) == 8


def test_a_run_that_took_no_step_begins_anew_without_a_word(told, root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "_step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            told()
    write_pair(root, "new", seed=99)
    assert told() == []
