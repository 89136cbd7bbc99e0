import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cutout.batch.folders import digest, write_pictures
from needs import needs_links, needs_odd_names, needs_proc, needs_signals
from networks import RED_MODEL
from pictures import read_image
from PIL import Image

from cli.command import u2net
from u2net.cutout.batch.journal import NAME
from u2net.models.card import METADATA_KEY
from u2net.models.zoo import find

QUICK = ("--runtime", "onnxruntime", "--threads", "1", "--model", str(RED_MODEL))


def _lines(output: Path) -> list[dict]:
    """Of the journal."""
    return [json.loads(line) for line in (output / NAME).read_text().splitlines()]


@pytest.fixture
def nothing(tmp_path) -> Path:
    """A picture of nothing: a grey wall."""
    path = tmp_path / "wall.png"
    Image.fromarray(np.random.default_rng(0).integers(118, 138, (90, 120, 3), np.uint8)).save(path)
    return path


def _shop(root: Path, photograph: Path) -> Path:
    """A folder with a clash of names, a broken picture, one that cannot be read, and other files."""
    folder = root / "shop"
    (folder / "red/cups").mkdir(parents=True)
    image = read_image(photograph).resize((90, 60))
    for name in ("cup.jpg", "cup.png", "red/cup.jpg", "red/cups/cup.webp"):
        image.save(folder / name)
    (folder / "red/broken.jpg").write_bytes(photograph.read_bytes()[:5000])
    (folder / "red/gone.png").symlink_to(root / "nowhere.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@needs_links
def test_a_folder_with_clashes_and_failures_loses_nothing(tmp_path, photograph):
    folder = _shop(tmp_path, photograph)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = u2net("p", folder, tmp_path / "out", *QUICK)
    assert result.returncode == 0
    assert result.stdout.decode() == "4 done, 0 skipped, 2 failed; no pictures, left alone: 1 .txt\n"
    failed, gone = sorted(result.stderr.decode().splitlines())
    assert "broken.jpg: " in failed
    assert "gone.png: No such file" in gone
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert made == ["cup.jpg.png", "cup.png.png", "red/cup.png", "red/cups/cup.png", NAME]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_second_run_replaces_nothing_unless_asked(folder_here, tmp_path, photograph):
    folder = tmp_path / "in"
    folder.mkdir()
    read_image(photograph).resize((60, 40)).save(folder / "a.jpg")
    target = tmp_path / "in.out/a.png"
    assert folder_here("remove", folder).stdout == b"1 done, 0 skipped, 0 failed\n"
    target.write_bytes(b"mine")
    assert folder_here("remove", folder).stdout == b"0 done, 1 skipped, 0 failed\n"
    assert target.read_bytes() == b"mine"
    assert folder_here("remove", folder, "--overwrite").stdout == b"1 done, 0 skipped, 0 failed\n"
    assert read_image(target).mode == "RGBA"


@needs_links
def test_a_folder_reports_in_json(folder_here, tmp_path, photograph):
    rows = json.loads(folder_here("remove", _shop(tmp_path, photograph), "--json").stdout)["pictures"]
    assert sorted(row["status"] for row in rows) == ["done"] * 4 + ["failed"] * 2


def test_an_empty_folder_is_no_failure(folder_here, tmp_path):
    result = folder_here("remove", tmp_path, tmp_path / "out")
    assert (result.returncode, result.stdout) == (0, b"0 done, 0 skipped, 0 failed\n")


def test_no_progress_bar_where_there_is_no_terminal(folder_here, tmp_path, photograph):
    shutil.copy(photograph, tmp_path / "a.jpg")
    assert folder_here("remove", tmp_path, tmp_path / "out").stderr == b""


def test_the_current_folder_goes_beside_itself(folder_here, tmp_path, photograph):
    (tmp_path / "shop").mkdir()
    shutil.copy(photograph, tmp_path / "shop/a.jpg")
    assert folder_here("remove", ".", cwd=tmp_path / "shop").returncode == 0
    assert (tmp_path / "shop.out/a.png").exists()


@needs_links
def test_a_link_to_itself_does_not_stop_a_folder(folder_here, tmp_path, photograph):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/loop.jpg").symlink_to("loop.jpg")
    shutil.copy(photograph, tmp_path / "in/a.jpg")
    result = folder_here("remove", tmp_path / "in")
    assert (result.returncode, result.stdout) == (0, b"1 done, 0 skipped, 1 failed\n")


@needs_odd_names
def test_names_cannot_forge_lines_of_the_report(tmp_path):
    (tmp_path / "evil\nu2net: all done.jpg").write_bytes(b"broken")
    assert u2net("remove", tmp_path, tmp_path / "out", *QUICK).stderr.count(b"\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@needs_signals
def test_an_interrupted_run_finishes_what_is_begun_and_still_reports(tmp_path, number, code):
    write_pictures(tmp_path / "in", 200)
    command = [sys.executable, "-m", "u2net", "remove", str(tmp_path / "in"), "--json", *QUICK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        while not list(tmp_path.glob("in.out/*.png")):
            time.sleep(0.05)
        child.send_signal(number)
        out, error = child.communicate()
    rows = json.loads(out)["pictures"]
    assert child.returncode == code
    assert 0 < len(rows) < 200
    assert error.decode() == "u2net: interrupted; give the same command again to continue\n"
    lines = _lines(tmp_path / "in.out")
    assert {line["begun"] for line in lines if "begun" in line} == {line["name"] for line in lines if "name" in line}
    assert {Path(row["target"]) for row in rows} == set((tmp_path / "in.out").glob("*.png"))
    assert not list((tmp_path / "in.out").glob(".*"))


def test_a_folder_goes_on_behind_a_picture_without_a_subject(folder_here, nothing, photograph, tmp_path):
    shutil.copy(photograph, tmp_path / "cup.jpg")
    result = folder_here("remove", tmp_path, tmp_path / "out", "--on-empty", "skip")
    assert (result.returncode, result.stdout) == (0, b"1 done, 1 skipped, 0 failed\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cup.png", NAME]


def _settle(folder: Path, output: Path, num_kills: int, seed: int, *flags: str) -> None:
    """Run to the end a command that was killed so often, by turns alone and with its processes, at random places."""
    command = [sys.executable, "-m", "u2net", "remove", str(folder), str(output), *flags]
    rng, num = random.Random(seed), len(list(folder.iterdir()))
    places = sorted(rng.sample(range(num - 1), num_kills))
    for turn, place in enumerate(places):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as child:
            while len(list(output.glob("*.png"))) <= place:
                assert child.poll() is None
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.1))
            (os.killpg if turn % 2 else os.kill)(child.pid, signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr == ""


def _assert_each_was_made_once(folder: Path, output: Path, undisturbed: Path) -> None:
    made = {path.name: digest(path) for path in output.iterdir() if path.name != NAME}
    assert made == {path.name: digest(path) for path in undisturbed.iterdir() if path.name != NAME}
    told = [line for line in _lines(output) if "name" in line]
    assert Counter(line["name"] for line in told) == Counter(path.name for path in folder.iterdir())
    for line in told:
        assert line["status"] == "done"
        assert line["sha256"] == digest(folder / line["name"])
        assert line["target_sha256"] == made[line["target"]]


@needs_signals
def test_wherever_a_run_is_killed_each_file_is_made_once(folder_here, tmp_path):
    folder = tmp_path / "in"
    write_pictures(folder, 150)  # each takes milliseconds
    assert folder_here("remove", folder, tmp_path / "undisturbed", *QUICK).returncode == 0
    _settle(folder, tmp_path / "out", 2, 7, *QUICK)
    _assert_each_was_made_once(folder, tmp_path / "out", tmp_path / "undisturbed")


@pytest.mark.slow
@needs_signals
def test_two_thousand_photographs_are_made_once_though_the_run_is_killed_ten_times(tmp_path, data):
    folder = tmp_path / "in"
    folder.mkdir()
    with tarfile.open(data / "ecssd.tar") as archive:
        for member in archive:
            if member.name.endswith(".webp"):
                content = archive.extractfile(member).read()
                for copy in "ab":
                    (folder / f"{copy}-{Path(member.name).name}").write_bytes(content)
    assert len(list(folder.iterdir())) == 2000
    assert u2net("remove", folder, tmp_path / "undisturbed").returncode == 0
    _settle(folder, tmp_path / "out", 10, 2)
    _assert_each_was_made_once(folder, tmp_path / "out", tmp_path / "undisturbed")


def _memory(pid: int) -> int:
    """Bytes that a process and its children hold."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = (int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in (pid, *children))
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def _with_small_input(path: Path) -> Path:
    """The packaged model, told to look at its pictures at 64 × 64."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(find("u2netp"))
    card = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    known = json.loads(card.value)
    known["transform"]["size"] = [64, 64]
    card.value = json.dumps(known)
    onnx.save(model, path)
    return path


@pytest.mark.slow
@needs_proc
def test_memory_stays_flat_over_five_thousand_pictures_of_mixed_sizes(tmp_path, photograph):
    image, rng = read_image(photograph), random.Random(0)
    (tmp_path / "in").mkdir()
    for i in range(5000):
        source = tmp_path / f"in/{i:04}.jpg"
        if i < 50:
            width = rng.randrange(32, 600)
            image.resize((width, rng.randrange(32, 400))).save(source)
        else:
            source.hardlink_to(tmp_path / f"in/{i % 50:04}.jpg")
    model = _with_small_input(tmp_path / "small.onnx")  # it is the number of pictures that may add up
    command = [sys.executable, "-m", "u2net", "remove", str(tmp_path / "in"), "--workers", "2", "-m", str(model)]
    held: dict[int, list[int]] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        while child.poll() is None:
            with contextlib.suppress(OSError):  # it ends while we look
                num = sum(1 for _ in os.scandir(tmp_path / "in.out"))
                held.setdefault(num // 500, []).append(_memory(child.pid))
            time.sleep(0.5)
    assert child.returncode == 0
    early, late = (sum(held[part]) / len(held[part]) for part in (1, 9))
    print(f"{early / 2**20:.0f} MiB over pictures 500 to 1,000, {late / 2**20:.0f} MiB over 4,500 to 5,000")  # noqa: T201
    assert late < 1.05 * early


def test_a_report_of_what_wants_a_look(folder_here, tmp_path, photograph):
    write_pictures(tmp_path / "in", 2)
    (tmp_path / "in/bad.jpg").write_bytes(b"broken")
    for _ in range(2):  # the second time all is known already
        folder_here("remove", tmp_path / "in", "--report", tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert page.count("<figure>") == 2
        assert "bad.jpg" in page


def test_the_same_command_again_decodes_nothing(folder_here, tmp_path):
    write_pictures(tmp_path / "in", 2)
    folder_here("remove", tmp_path / "in")
    before = _lines(tmp_path / "in.out")
    result = folder_here("remove", tmp_path / "in", "--json")
    rows = json.loads(result.stdout)["pictures"]
    assert [(row["status"], row["reason"]) for row in rows] == [("skipped", "done before")] * 2
    assert [set(line) for line in _lines(tmp_path / "in.out")[len(before) :]] == [{"run"}, {"ended"}]


def test_what_changed_is_made_again_and_what_failed_tried_again(folder_here, tmp_path):
    one, two, *_ = write_pictures(tmp_path / "in", 3)
    content = two.read_bytes()
    two.write_bytes(b"broken")
    assert folder_here("remove", tmp_path / "in").stdout == b"2 done, 0 skipped, 1 failed\n"
    before = digest(tmp_path / "in.out/0000.png")
    two.write_bytes(content)
    Image.open(one).transpose(Image.Transpose.ROTATE_180).save(one)
    assert folder_here("remove", tmp_path / "in").stdout == b"2 done, 1 skipped, 0 failed\n"
    assert digest(tmp_path / "in.out/0000.png") != before


def test_strictly_a_failure_is_an_exit_code(folder_here, tmp_path):
    write_pictures(tmp_path / "in", 1)
    (tmp_path / "in/bad.jpg").write_bytes(b"broken")
    assert folder_here("remove", tmp_path / "in").returncode == 0
    assert folder_here("remove", tmp_path / "in", "--strict").returncode == 1


def test_another_request_does_not_mix_with_what_is_there(folder_here, tmp_path):
    write_pictures(tmp_path / "in", 1)
    folder_here("remove", tmp_path / "in", *QUICK)
    before = digest(tmp_path / "in.out/0000.png")
    result = folder_here("remove", tmp_path / "in", *QUICK, "--mask")
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert b"only_mask was false and now is true" in result.stderr
    assert b"--overwrite" in result.stderr
    assert digest(tmp_path / "in.out/0000.png") == before
    assert folder_here("remove", tmp_path / "in", *QUICK, "--mask", "--overwrite").returncode == 0
    assert read_image(tmp_path / "in.out/0000.png").mode == "L"


@pytest.mark.parametrize("flags", [["--watch", "--json"], ["--report", "not/there.html"]])
def test_what_could_not_be_told_in_the_end_is_refused_at_once(folder_here, tmp_path, flags):
    write_pictures(tmp_path / "in", 1)
    result = folder_here("remove", tmp_path / "in", *flags)
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert not (tmp_path / "in.out").exists()


@pytest.mark.parametrize("flag", [["--workers", "2"], ["--watch"], ["--report", "r.html"], ["--strict"]])
def test_what_is_for_folders_is_refused_for_a_picture(folder_here, tmp_path, photograph, flag):
    result = folder_here("remove", photograph, tmp_path / "a.png", *flag)
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_opened_is_one_line(tmp_path):
    write_pictures(tmp_path / "in", 3)
    (tmp_path / "model.onnx").write_bytes(b"broken")
    result = u2net("remove", tmp_path / "in", "-m", tmp_path / "model.onnx", "--workers", "2")
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
    assert b"model.onnx" in result.stderr


@needs_signals
def test_a_watched_folder_is_worked_on_until_it_is_ended(tmp_path, photograph):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    content = photograph.read_bytes()
    command = [sys.executable, "-m", "u2net", "remove", str(folder), str(output), "--watch", "--workers", "1", *QUICK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        (folder / "whole.jpg").write_bytes(content)
        with (folder / "slow.jpg").open("wb") as file:
            for start in range(0, len(content), 1 + len(content) // 6):
                file.write(content[start : start + 1 + len(content) // 6])
                file.flush()
                time.sleep(0.5)
        while len(list(output.glob("*.png"))) < 2:
            assert child.poll() is None
            time.sleep(0.1)
        child.send_signal(signal.SIGTERM)
        out, error = child.communicate()
    assert (child.returncode, out, error) == (0, b"2 done, 0 skipped, 0 failed\n", b"")
    assert digest(output / "slow.png") == digest(output / "whole.png")
