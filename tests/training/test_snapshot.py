import errno
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from needs import needs_links
from safetensors import SafetensorError
from torch.nn.functional import binary_cross_entropy_with_logits

from training.conftest import TINY
from u2net.net.model import U2Net
from u2net.training import TrainConfig, snapshot
from u2net.training.parallel import World
from u2net.training.snapshot import Snapshot, State, load_newest, save_snapshot, set_aside

FILES = ("state.safetensors", "weights.bin", "SHA256SUMS")


def _snapshot(step: int) -> Snapshot:
    generator = torch.Generator().manual_seed(step)
    tensors = {"network/weight": torch.randn(40, generator=generator), "random/cpu": torch.arange(9, dtype=torch.uint8)}
    return Snapshot(step, tensors, {"best": 0.1 + step, "scaler": {}})


def _save(folder: Path, *steps: int, keep: int = 9) -> None:
    for step in steps:
        save_snapshot(folder, _snapshot(step), lambda path: (path / "weights.bin").write_bytes(b"weights" * 9), keep)


def _load(folder: Path) -> tuple[Snapshot | None, list[str]]:
    warned: list[str] = []
    return load_newest(folder, warned.append), warned


def _assert_is(loaded: Snapshot | None, step: int) -> None:
    expected = _snapshot(step)
    assert loaded is not None
    assert (loaded.step, loaded.facts) == (step, expected.facts)
    assert loaded.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(value, expected.tensors[key]) for key, value in loaded.tensors.items())


# ---- Whole snapshots -----------------------------------------------------------------------------------------


def test_the_newest_is_loaded_as_it_was(tmp_path):
    _save(tmp_path, 3, 12)
    loaded, warned = _load(tmp_path)
    _assert_is(loaded, 12)
    assert warned == []


def test_steps_are_ordered_as_numbers(tmp_path):
    _save(tmp_path, 99_999_999, 100_000_000)
    _assert_is(_load(tmp_path)[0], 100_000_000)


def test_the_newest_are_kept(tmp_path):
    _save(tmp_path, 1, 2, 3, 4, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


@pytest.mark.parametrize("name", ["", "nowhere", "file"])
def test_where_there_is_none_none_is_loaded(tmp_path, name):
    (tmp_path / "file").touch()
    assert _load(tmp_path / name) == (None, [])


def test_sums_are_those_that_sha256sum_checks(tmp_path):
    _save(tmp_path, 1)
    lines = (tmp_path / "step-00000001" / "SHA256SUMS").read_text().splitlines()
    assert [len(line.split("  ")[0]) for line in lines] == [64, 64]
    assert [line.split("  ")[1] for line in lines] == ["state.safetensors", "weights.bin"]


def test_what_a_killed_process_left_is_not_loaded_and_cleared_away(tmp_path):
    _save(tmp_path, 1)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".0123456789abcdef.part")
    _assert_is(_load(tmp_path)[0], 1)
    _save(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("name", ["step-00000002.bak", "step-2", "step-00000002 (copy)", "notes"])
def test_what_is_named_otherwise_is_left_alone(tmp_path, name):
    _save(tmp_path, 1)
    (tmp_path / name).mkdir()
    loaded, warned = _load(tmp_path)
    _assert_is(loaded, 1)
    assert warned == []
    _save(tmp_path, 3, keep=1)
    assert (tmp_path / name).is_dir()


# ---- Damaged ones --------------------------------------------------------------------------------------------


def _damage(newest: Path, name: str, change) -> None:
    content = (newest / name).read_bytes()
    changed = change(content)
    assert changed != content
    (newest / name).write_bytes(changed)


def _assert_falls_back(folder: Path) -> None:
    """The state of step 1 is loaded and step 2 warned of in one line; or step 2 is, if its state is proven sound."""
    loaded, warned = _load(folder)
    if not warned:
        _assert_is(loaded, 2)
        return
    _assert_is(loaded, 1)
    (line,) = warned
    assert line.startswith("step-00000002 is damaged and passed over: ")
    assert "\n" not in line


@pytest.fixture
def two(tmp_path) -> Path:
    _save(tmp_path / "run", 1, 2)
    return tmp_path / "run"


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_anywhere_is_noticed(two, name):
    newest, kept = two / "step-00000002", two.parent / "kept"
    shutil.copytree(newest, kept)
    length = (newest / name).stat().st_size
    for offset in {0, 1, length - 1, *np.linspace(2, length - 2, 47).astype(int)}:
        _damage(newest, name, lambda content, offset=offset: content[:offset])
        _assert_falls_back(two)
        shutil.copy(kept / name, newest / name)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_noticed(two, name):
    newest = two / "step-00000002"
    length = (newest / name).stat().st_size
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * length, 50, replace=False):
        flip = _flipper(bit)
        _damage(newest, name, flip)
        _assert_falls_back(two)
        _damage(newest, name, flip)
    _assert_is(_load(two)[0], 2)


def _flipper(bit: int):
    def flip(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    return flip


@pytest.mark.parametrize("name", ["state.safetensors", "weights.bin"])
@pytest.mark.parametrize("change", [lambda _: b"", lambda content: content[:-1], _flipper(77)])
def test_damage_to_what_is_loaded_or_used_is_always_warned_of(two, name, change):
    _damage(two / "step-00000002", name, change)
    loaded, warned = _load(two)
    _assert_is(loaded, 1)
    assert len(warned) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_noticed(two, name):
    (two / "step-00000002" / name).unlink()
    loaded, warned = _load(two)
    _assert_is(loaded, 1)
    assert len(warned) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_place_of_a_file_is_noticed(two, name):
    (two / "step-00000002" / name).unlink()
    (two / "step-00000002" / name).mkdir()
    loaded, warned = _load(two)
    _assert_is(loaded, 1)
    assert len(warned) == 1


def test_an_empty_folder_of_a_snapshots_name_is_passed_over(two):
    (two / "step-00000003").mkdir()
    loaded, warned = _load(two)
    _assert_is(loaded, 2)
    assert [line[:13] for line in warned] == ["step-00000003"]


def test_if_all_are_damaged_each_is_told_and_none_loaded(two):
    for path in two.iterdir():
        (path / "state.safetensors").write_bytes(b"")
    loaded, warned = _load(two)
    assert loaded is None
    assert len(warned) == 2


def test_a_damaged_one_is_replaced_when_its_step_comes_again(two):
    (two / "step-00000002" / "state.safetensors").write_bytes(b"")
    _save(two, 2)
    loaded, warned = _load(two)
    _assert_is(loaded, 2)
    assert warned == []


def test_later_damaged_ones_do_not_push_out_what_was_just_saved(two):
    for step in range(5, 8):
        (two / f"step-{step:08}").mkdir()
    _save(two, 3, keep=2)
    aside = [f"step-{step:08}.damaged" for step in range(5, 8)]
    assert sorted(path.name for path in two.iterdir()) == ["step-00000002", "step-00000003", *aside]


def test_what_was_passed_over_is_never_deleted(two):
    content = (two / "step-00000002" / "weights.bin").read_bytes()
    for _ in range(3):
        set_aside(two, 2)
        _save(two, 2, 3, keep=1)
        shutil.copytree(two / "step-00000003", two / "step-00000002")
    kept = [path for path in sorted(two.iterdir()) if "damaged" in path.name]
    names = ["step-00000002.damaged", "step-00000002.damaged-1", "step-00000002.damaged-2"]
    assert [path.name for path in kept if "-00000002." in path.name] == names
    assert all((path / "weights.bin").read_bytes() == content for path in kept)


# ---- Unreadable ones -----------------------------------------------------------------------------------------

UNREADABLE = [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE]


def _refuse(number: int):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "refused for a moment")

    return refuse


@pytest.mark.parametrize("number", UNREADABLE)
@pytest.mark.parametrize(("owner", "name"), [(snapshot, "sha256_of"), (Path, "iterdir"), (Path, "read_text")])
def test_what_cannot_be_read_is_not_taken_for_damaged(two, monkeypatch, number, owner, name):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _refuse(number))
        with pytest.raises(OSError, match="refused for a moment") as refused:
            _load(two)
    assert refused.value.errno == number
    assert len(str(refused.value).splitlines()) == 1
    loaded, warned = _load(two)
    _assert_is(loaded, 2)
    assert warned == []


def test_on_a_full_disk_none_is_deleted_that_cannot_be_read(two, monkeypatch):
    really = snapshot.sha256_of

    def refuse_the_newest(path):
        return _refuse(errno.EIO)() if "step-00000002" in str(path) else really(path)

    monkeypatch.setattr(snapshot, "save_file", _full_in_rust)
    monkeypatch.setattr(snapshot, "sha256_of", refuse_the_newest)
    with pytest.raises(OSError, match="No space left"):
        _save(two, 3)
    assert sorted(path.name for path in two.iterdir()) == ["step-00000001", "step-00000002"]


# ---- What is not ours ----------------------------------------------------------------------------------------


def _link_elsewhere(path: Path) -> None:
    (path.parent.parent / "elsewhere").mkdir()
    (path.parent.parent / "elsewhere/precious").touch()
    path.symlink_to(path.parent.parent / "elsewhere")


LINKS = [pytest.param(put, marks=needs_links) for put in (_link_elsewhere, lambda path: path.symlink_to("nowhere"))]


@pytest.mark.parametrize("put", [Path.touch, Path.mkdir, *LINKS])
@pytest.mark.parametrize("name", [".x.part", ".0123456789abcdef.part", "step-00000001", "step-00000003", "notes"])
def test_nothing_that_lies_there_ends_a_run_at_its_save(tmp_path, put, name):
    folder = tmp_path / "run"
    _save(folder, 2)
    put(folder / name)
    _save(folder, 3, 4, keep=2)
    assert not _load(folder)[1]
    _assert_is(_load(folder)[0], 4)
    if (tmp_path / "elsewhere").exists():
        assert (tmp_path / "elsewhere/precious").exists()
    if name in (".x.part", "notes"):
        assert os.path.lexists(folder / name)


# ---- A full disk ---------------------------------------------------------------------------------------------


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _full_in_rust(*_: object, **__: object) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


STAGES = [
    (Path, "mkdir", _full),
    (snapshot, "save_file", _full_in_rust),
    (Path, "write_bytes", _full),
    (Path, "write_text", _full),
    (Path, "rename", _full),
]


@pytest.mark.parametrize(("owner", "name", "fail"), STAGES, ids=[name for _, name, _ in STAGES])
def test_a_disk_that_is_full_at_any_stage_loses_nothing(two, monkeypatch, owner, name, fail):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(OSError, match="No space left on device"):
            _save(two, 3)
    _assert_is(_load(two)[0], 2)
    assert not list(two.glob(".*"))


@contextmanager
def _largest_file(num_bytes: int):
    """Have the system refuse to write files beyond a size."""
    resource = pytest.importorskip("resource", reason="Windows limits no file's size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("num_bytes", [0, 50, 200])
def test_a_system_that_refuses_to_write_loses_nothing(two, num_bytes):
    with _largest_file(num_bytes), pytest.raises(OSError):  # noqa: PT011 - its words are the system's
        _save(two, 3)
    _assert_is(_load(two)[0], 2)
    assert not list(two.glob(".*"))


def test_older_ones_make_room_on_a_full_disk(two, monkeypatch):
    save_file = snapshot.save_file

    def once_there_is_room(*arguments):
        if (two / "step-00000001").exists():
            _full_in_rust()
        save_file(*arguments)

    monkeypatch.setattr(snapshot, "save_file", once_there_is_room)
    _save(two, 3)
    assert sorted(path.name for path in two.iterdir()) == ["step-00000002", "step-00000003"]
    _assert_is(_load(two)[0], 3)


def test_it_is_the_newest_sound_one_that_stays_on_a_full_disk(two, monkeypatch):
    (two / "step-00000002" / "state.safetensors").write_bytes(b"")
    monkeypatch.setattr(snapshot, "save_file", _full_in_rust)
    with pytest.raises(OSError, match="No space left"):
        _save(two, 3)
    _assert_is(_load(two)[0], 1)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
@pytest.mark.parametrize(("owner", "name"), [(Path, "rename"), (snapshot, "sha256_of")])
def test_a_failure_that_is_no_full_disk_deletes_nothing(two, monkeypatch, owner, name, number):
    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(OSError, match="refused"):
        _save(two, 3)
    assert sorted(path.name for path in two.iterdir()) == ["step-00000001", "step-00000002"]


def test_on_a_full_disk_nothing_is_deleted_while_none_can_be_proven_sound(two, monkeypatch):
    monkeypatch.setattr(snapshot, "sha256_of", _full)
    with pytest.raises(OSError, match="No space left"):
        _save(two, 3)
    assert sorted(path.name for path in two.iterdir()) == ["step-00000001", "step-00000002"]


# ---- What a run is -------------------------------------------------------------------------------------------


def _state(seed: int, **fields) -> State:
    torch.manual_seed(seed)
    config = TrainConfig(precision="fp32", ema=0.9, weight_decay=0.01, **fields)
    return State(U2Net(TINY), config, World(0, 1, torch.device("cpu")))


def _take_steps(state: State, num_steps: int) -> None:
    state.network.train()
    for _ in range(num_steps):
        x, y = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)  # of the random state that is saved too
        state.optimizer.zero_grad()
        binary_cross_entropy_with_logits(state.network(x)[0], y).backward()
        state.optimizer.step()
        state.average.update(state.step)
        state.step += 1


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last], ids=str)
def layout(request, monkeypatch):
    monkeypatch.setattr(snapshot, "find_layout", lambda _: request.param)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("fields", [{}, {"optimizer": "adamw"}, {"freeze": ("encoder.0",)}], ids=str)
def test_steps_after_a_snapshot_are_those_of_a_run_that_was_not_cut_off(tmp_path, fields):
    whole = _state(0, **fields)
    _take_steps(whole, 3)
    save_snapshot(tmp_path, whole.snapshot(), lambda _: None, 1)
    _take_steps(whole, 3)
    resumed = _state(1, **fields)
    resumed.restore(_load(tmp_path)[0])
    _take_steps(resumed, 3)
    expected, found = whole.snapshot(), resumed.snapshot()
    assert (found.step, found.facts) == (expected.step, expected.facts)
    assert found.tensors.keys() == expected.tensors.keys()
    for key, value in expected.tensors.items():
        assert torch.equal(found.tensors[key], value), key


@pytest.mark.usefixtures("layout")
def test_restored_moments_lie_in_memory_as_their_weights_do(tmp_path):
    state = _state(0)
    _take_steps(state, 1)
    save_snapshot(tmp_path, state.snapshot(), lambda _: None, 1)
    resumed = _state(1)
    resumed.restore(_load(tmp_path)[0])
    for parameter, values in resumed.optimizer.state.items():
        assert values["exp_avg"].stride() == values["exp_avg_sq"].stride() == parameter.stride()
        assert values["step"].item() == 1


def test_what_a_run_knows_besides_tensors_comes_back(tmp_path):
    state = _state(0)
    state.best, state.num_stale, state.validated, state.seconds = 0.75, 2, 7, 12.5
    state.step = 9
    save_snapshot(tmp_path, state.snapshot(), lambda _: None, 1)
    resumed = _state(1)
    resumed.restore(_load(tmp_path)[0])
    told = (resumed.step, resumed.best, resumed.num_stale, resumed.validated, resumed.seconds)
    assert told == (9, 0.75, 2, 7, 12.5)
