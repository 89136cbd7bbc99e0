import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from needs import (
    FolderIsNoFile,
    in_posix_words,
    needs_fifos,
    needs_glibc,
    needs_links,
    needs_long_paths,
    needs_permissions,
    needs_signals,
)

from u2net.system import process
from u2net.system.files import atomic_write, first_link, leads_back, new_folder, sweep, walk
from u2net.system.process import Signals, in_threads


@pytest.fixture
def path(tmp_path) -> Path:
    """A file that is there already, alone in its folder."""
    (tmp_path / "a.bin").write_bytes(b"old")
    return tmp_path / "a.bin"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_file_appears_with_what_was_written(tmp_path):
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
    assert content(tmp_path) == {"a.bin": b"new"}


def test_an_existing_file_is_replaced(path):
    with atomic_write(path) as file:
        file.write(b"new")
    assert content(path.parent) == {"a.bin": b"new"}


def test_until_the_end_the_old_file_stands(path):
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"


def test_until_the_end_no_file_of_that_name_appears(tmp_path):
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
        assert not (tmp_path / "a.bin").exists()


def test_meanwhile_the_content_stands_beside_under_the_files_own_name(path):
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert Path(file.name).parent == path.parent
        assert Path(file.name).read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_failure_leaves_the_old_file_and_no_other(path, error):
    def write_half() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert content(path.parent) == {"a.bin": b"old"}


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_failing_disk_leaves_the_old_file_and_no_other(path, monkeypatch, step):
    def fail(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="Input/output error"), atomic_write(path) as file:
        file.write(b"new")
    monkeypatch.undo()
    assert content(path.parent) == {"a.bin": b"old"}


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as Unix does")
def test_a_full_disk_leaves_the_old_file_and_no_other(path):
    script = (
        "import resource, sys; from u2net.system.files import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "with atomic_write(sys.argv[1]) as file: file.write(bytes(10_000))"
    )
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27] File too large" in run.stderr
    assert content(path.parent) == {"a.bin": b"old"}


@needs_signals
def test_a_killed_process_leaves_the_old_file_whole(path):
    script = (
        "import os, signal, sys; from u2net.system.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file: file.write(b'new'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", script, path], check=False)
    assert (run.returncode, path.read_bytes()) == (-signal.SIGKILL, b"old")


def test_the_content_is_on_the_disk_before_it_gets_its_name(path, monkeypatch):
    steps = []
    sync, replace = os.fsync, Path.replace

    def synced(file: int) -> None:
        steps.append(f"sync {os.fstat(file).st_size} bytes")
        sync(file)

    def replaced(self: Path, target: Path) -> Path:
        steps.append(f"name it {target.name}")
        return replace(self, target)

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("pathlib.Path.replace", replaced)
    with atomic_write(path) as file:
        file.write(b"new")
    assert steps[:2] == ["sync 3 bytes", "name it a.bin"]


def test_a_missing_folder_is_an_os_error_and_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none/a.bin"):
        pytest.fail("the block was entered")
    assert not content(tmp_path)


@in_posix_words
def test_a_file_in_the_place_of_the_folder_is_an_os_error(path):
    with pytest.raises(NotADirectoryError), atomic_write(path / "a.bin"):
        pytest.fail("the block was entered")
    assert content(path.parent) == {"a.bin": b"old"}


def test_a_folder_of_that_name_is_an_os_error_and_stays(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(FolderIsNoFile), atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@needs_permissions
def test_permissions_are_those_that_the_umask_asks_for(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.bin") as file:
            file.write(b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_two_writers_at_once_each_write_a_whole_file(path):
    with atomic_write(path) as slow:
        slow.write(b"slow, ")
        with atomic_write(path) as quick:
            quick.write(b"quick")
        assert content(path.parent)["a.bin"] == b"quick"
        slow.write(b"last")
    assert content(path.parent) == {"a.bin": b"slow, last"}


@needs_long_paths
def test_a_name_of_full_length_can_be_written(tmp_path):
    name = "n" * 255
    with atomic_write(tmp_path / name) as file:
        file.write(b"new")
    assert content(tmp_path) == {name: b"new"}


def test_a_path_may_be_text(tmp_path):
    with atomic_write(str(tmp_path / "a.bin")) as file:
        file.write(b"new")
    assert content(tmp_path) == {"a.bin": b"new"}


def test_the_first_signal_decides():
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert signals.received == signal.SIGINT


@needs_links
def test_a_link_leads_back_if_it_goes_to_a_folder_above_it(tmp_path):
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name, target, is_back in [
        ("a/b/self", ".", True),
        ("a/b/up", "../..", True),
        ("a/b/above", tmp_path, True),
        ("a/beside", root / "a/b", False),
        ("a/away", tmp_path / "elsewhere", False),
        ("a/broken", "nowhere", False),
    ]:
        (root / name).symlink_to(target)
        assert leads_back(root / name, root) is is_back
    (tmp_path / "elsewhere/back").symlink_to(root / "a")
    assert leads_back(root / "a/away/back", root)
    assert not leads_back(root / "a/b", root)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
@needs_permissions
def test_a_file_that_is_replaced_keeps_its_permissions(path, mode):
    path.chmod(mode)
    with atomic_write(path) as file:
        assert stat.S_IMODE(Path(file.name).stat().st_mode) == mode
        file.write(b"new")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (mode, b"new")


@needs_links
def test_a_link_is_replaced_and_not_written_through(path):
    link = path.with_name("link")
    link.symlink_to(path)
    path.chmod(0o600)
    with atomic_write(link) as file:
        file.write(b"new")
    assert (link.is_symlink(), link.read_bytes(), path.read_bytes()) == (False, b"new", b"old")


@needs_fifos
def test_what_killed_writers_left_is_swept_away_and_nothing_else(tmp_path):
    left = {".part", "0123456789abcdef.part", ".0123456789abcdeg.part", "a.png"}
    for name in (".0123456789abcdef.part", *left):
        (tmp_path / name).touch()
    (tmp_path / ".0000000000000001.part").symlink_to(tmp_path / "a.png")
    (tmp_path / ".0000000000000002.part").mkdir()
    os.mkfifo(tmp_path / ".0000000000000003.part")
    sweep(tmp_path)
    sweep(tmp_path / "not there")
    assert {path.name for path in tmp_path.iterdir()} == left | {f".000000000000000{n}.part" for n in (1, 2, 3)}


def test_what_another_process_writes_is_not_swept_away(tmp_path):
    code = "from u2net.system.files import sweep; from pathlib import Path; import sys; sweep(Path(sys.argv[1]))"
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
        subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    assert content(tmp_path) == {"a.bin": b"new"}


@pytest.fixture
def deep(tmp_path):
    """120 folders in one another, where hardly as many calls may be."""
    former, depth, frame = sys.getrecursionlimit(), 0, sys._getframe()
    while frame := frame.f_back:
        depth += 1
    sys.setrecursionlimit(depth + 100)
    yield tmp_path.joinpath(*["d"] * 120)
    sys.setrecursionlimit(former)


@needs_long_paths
def test_folders_may_lie_as_deep_as_the_disk_takes_them(deep, tmp_path):
    new_folder(deep)
    (deep / "a.png").touch()
    folders = list(walk(tmp_path))
    assert [len(files) for _, _, files in folders] == [0] * 120 + [1]
    assert folders[-1] == (deep, [], ["a.png"])


@needs_links
def test_a_walk_goes_as_that_of_the_library_goes(tmp_path):
    for name in ("b/c/1", "b/2", "a/3", "z/.h/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a/link").symlink_to(tmp_path / "z")
    (tmp_path / "a/lost").symlink_to("nowhere")
    for follow in (False, True):
        ours = {(str(here), *map(tuple, map(sorted, both))) for here, *both in walk(tmp_path, follow=follow)}
        theirs = {(here, *map(tuple, map(sorted, both))) for here, *both in os.walk(tmp_path, followlinks=follow)}
        assert ours == theirs
    lost = []
    assert list(walk(tmp_path / "nowhere", lost.append)) == []
    assert [error.filename for error in lost] == [str(tmp_path / "nowhere")]


@needs_links
def test_the_first_link_on_the_way_is_found(tmp_path):
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/a/link").symlink_to(tmp_path)
    (tmp_path / "way").symlink_to(tmp_path / "root")
    assert first_link(tmp_path / "way/a", tmp_path / "way") is None
    assert first_link(tmp_path / "way/a/link/x/y", tmp_path / "way") == tmp_path / "way/a/link"


@pytest.mark.parametrize("num", [0, 1, 2, 9])
def test_threads_do_each_item_and_keep_their_order(monkeypatch, num):
    monkeypatch.setattr(process, "num_processors", lambda: 3)
    threads = set()

    def work(item: int) -> int:
        threads.add(threading.current_thread())
        time.sleep(0.01 * (item % 2))
        return 10 * item

    assert in_threads(work, iter(range(num))) == [10 * item for item in range(num)]
    assert len(threads) <= 3


def test_the_first_error_of_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(process, "num_processors", lambda: 2)
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda item: 1 / item, [3, 0, 2])


HEAPS = """
import numpy
from u2net.system.process import kept_heaps

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) >> 10

before = resident()
with kept_heaps():
    for _ in range(2):
        large = [numpy.ones(2**23) for _ in range(4)]
        del large
    print(resident() - before)
print(resident() - before)
"""


@needs_glibc
def test_freed_memory_is_kept_until_the_end_and_then_given_back():
    ran = subprocess.run([sys.executable, "-c", HEAPS], capture_output=True, text=True, check=True)
    within, after = map(int, ran.stdout.split())
    assert within >= 250
    assert after <= 60


AFTER_THE_END = """
import threading, time
from u2net.system.process import in_threads

def late():
    threading.main_thread().join()
    print(in_threads(str, range(4)))

threading.Thread(target=late).start()
"""


def test_a_thread_that_outlives_the_main_one_does_the_work_alone():
    ran = subprocess.run([sys.executable, "-c", AFTER_THE_END], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["['0',", "'1',", "'2',", "'3']"]
