import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from needs import needs_proc, needs_signals
from PIL import Image

from training.pairs import write_pairs
from u2net.errors import BadPictures, InvalidDataset, NotEnoughRoom
from u2net.models.transform import Transform
from u2net.training.config import TrainConfig
from u2net.training.examples import Order, open_examples
from u2net.training.loader import Batch, Data, positions
from u2net.training.loop import train
from u2net.training.objective import Normalise
from u2net.training.parallel import World
from u2net.training.run_folder import read_rows
from u2net.training.store import open_store

CPU = torch.device("cpu")
NUM_PAIRS = 8


def _loader(root: Path, rank: int = 0, world: int = 1, **fields) -> Data:
    settings = {"holdout": 0.0, "workers": 0, "size": 40, "crop": 32, "batch_size": 3, "augment": "modern"}
    config = TrainConfig(data=(str(root),), **(settings | fields))
    examples, _ = open_examples(config)
    store, _ = open_store(examples, config, Transform(size=(40, 40), antialias=True), root.parent, CPU)
    order = Order(store.examples.weights, config.seed)
    return Data(store, order, config, World(rank, world, CPU), validation=[])


def _take(loader: Data, count: int, start_step: int = 0) -> list[Batch]:
    return list(itertools.islice(loader.batches(start_step), count))


def _digests(batches: list[Batch]) -> list[str]:
    parts = [(batch.images.numpy().tobytes(), batch.masks.numpy().tobytes(), repr(batch.keys)) for batch in batches]
    return [hashlib.sha256(images + masks + keys.encode()).hexdigest() for images, masks, keys in parts]


# ---- Batches -------------------------------------------------------------------------------------------------


def test_a_batch_is_what_the_network_takes(root):
    (batch,) = _take(_loader(root), 1)
    assert (batch.images.shape, batch.images.dtype) == ((3, 3, 32, 32), torch.uint8)
    assert (batch.masks.shape, batch.masks.dtype) == ((3, 1, 32, 32), torch.uint8)
    assert len(batch.keys) == 3


def test_epochs_run_into_each_other_without_partial_batches_or_losses(root):
    batches = _take(_loader(root), NUM_PAIRS)
    assert {len(batch.keys) for batch in batches} == {3}
    assert Counter(key.example for batch in batches for key in batch.keys) == dict.fromkeys(range(NUM_PAIRS), 3)


@pytest.mark.parametrize("augment", ["paper", "modern"])
def test_the_stream_is_the_same_for_any_number_of_workers(root, augment):
    streams = {tuple(_digests(_take(_loader(root, augment=augment, workers=num), 12))) for num in (0, 1, 4)}
    assert len(streams) == 1


def test_the_stream_is_the_same_for_any_number_of_threads(root):
    num_threads = torch.get_num_threads()
    streams = set()
    try:
        for num in (1, 2):
            torch.set_num_threads(num)
            streams.add(tuple(_digests(_take(_loader(root, size=320, crop=288), 12))))
    finally:
        torch.set_num_threads(num_threads)
    assert len(streams) == 1


@pytest.mark.parametrize("cache", ["memory", "disk", "device"])
def test_the_stream_is_the_same_for_any_cache(root, cache):
    expected = _digests(_take(_loader(root), 6))
    assert _digests(_take(_loader(root, cache=cache), 6)) == expected
    assert _digests(_take(_loader(root, cache=cache, workers=2), 6)) == expected


def test_the_stream_is_another_for_another_seed(root):
    assert _digests(_take(_loader(root), 3)) != _digests(_take(_loader(root, seed=1), 3))


@pytest.mark.parametrize(("workers", "cache"), [(0, "none"), (2, "none"), (0, "device")])
def test_from_a_step_on_batches_are_those_of_the_stream_that_began_before(root, workers, cache):
    loader = _loader(root, workers=workers, cache=cache, accumulate=2)
    uninterrupted = _digests(_take(loader, 12))
    for step in (1, 4):
        assert _digests(_take(loader, 12 - 2 * step, start_step=step)) == uninterrupted[2 * step :]


def test_devices_share_each_epoch_between_them(root):
    batches = [batch for rank in range(3) for batch in _take(_loader(root, rank, 3, batch_size=1, crop=40), NUM_PAIRS)]
    keys = [key for batch in batches for key in batch.keys]
    assert len(set(keys)) == 3 * NUM_PAIRS
    assert Counter(key.example for key in keys) == dict.fromkeys(range(NUM_PAIRS), 3)


@pytest.mark.parametrize(
    ("world", "accumulate", "batch_size"), [(1, 1, 12), (1, 3, 4), (2, 1, 6), (2, 3, 2), (4, 3, 1)]
)
def test_a_step_takes_the_same_positions_however_they_are_shared(world, accumulate, batch_size):
    for step in range(3):
        taken = [
            position
            for rank in range(world)
            for batch in range(step * accumulate, (step + 1) * accumulate)
            for position in positions(batch, batch_size, rank, world)
        ]
        assert sorted(taken) == list(range(12 * step, 12 * (step + 1)))


def test_the_random_state_of_the_run_is_not_touched(root):
    before = torch.get_rng_state()
    _take(_loader(root, workers=2), 4)
    assert torch.equal(torch.get_rng_state(), before)


# ---- Faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_goes_bad_meanwhile_is_named_in_one_line(root, workers):
    loader = _loader(root, workers=workers)
    (root / "images/picture-04.png").write_bytes(b"")
    with pytest.raises(BadPictures, match="set/picture-04 not a JPEG") as caught:
        _take(loader, 5)
    assert "\n" not in str(caught.value)
    assert not torch.multiprocessing.active_children()


@needs_signals
def test_a_worker_that_was_killed_is_said_in_one_line(root):
    batches = _loader(root, workers=2).batches()
    next(batches)
    victim, _ = torch.multiprocessing.active_children()
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    with pytest.raises(NotEnoughRoom, match="a worker was killed") as caught:
        list(itertools.islice(batches, 50))
    assert "\n" not in str(caught.value)


@needs_signals
def test_signals_to_the_group_of_processes_do_not_reach_the_workers(root):
    batches = _loader(root, workers=2).batches()
    list(itertools.islice(batches, 2))  # one from each: a worker that has made a batch has set up its signals
    workers = torch.multiprocessing.active_children()
    assert len(workers) == 2
    assert os.getpgrp() not in [os.getpgid(worker.pid) for worker in workers]


@needs_signals
def test_ctrl_c_does_not_stop_a_worker(root):
    batches = _loader(root, workers=2).batches()
    list(itertools.islice(batches, 2))  # one from each: a worker that has made a batch has set up its signals
    for worker in torch.multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGINT)
    assert len(list(itertools.islice(batches, 20))) == 20


def test_workers_end_when_no_more_batches_are_asked_for(root):
    batches = _loader(root, workers=2).batches()
    next(batches)
    assert len(torch.multiprocessing.active_children()) == 2
    batches.close()
    assert not torch.multiprocessing.active_children()


PARENT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from training.test_loader import _loader
import torch
if __name__ == "__main__":
    batches = _loader(Path({root!r}), workers=2).batches()
    next(batches)
    print(*[worker.pid for worker in torch.multiprocessing.active_children()], flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@needs_proc
def test_workers_die_with_a_parent_that_is_killed(root, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(Path(__file__).parents[1]), root=str(root)))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(workers) == 2
    for _ in range(300):
        if not any(_runs(pid) for pid in workers):
            return
        time.sleep(0.1)
    pytest.fail(f"workers {workers} outlive their parent")


def _runs(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


# ---- Normalisation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divisor", ["max", "255"])
def test_batches_are_normalised_as_the_transform_normalises_pictures(divisor):
    transform = Transform(divisor=divisor, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 200, (4, 3, 16, 20), dtype=np.uint8))
    images[2] = 0
    images[3] //= 9
    pixels = Normalise(transform)(images)
    for image, seen in zip(images, pixels, strict=True):
        expected = transform.normalise(image.permute(1, 2, 0).numpy().astype(np.float32))
        np.testing.assert_array_equal(seen.permute(1, 2, 0), expected)


# ---- The data of a run ----------------------------------------------------------------------------------------


def _spoil(root: Path) -> set[str]:
    """Five pairs of which each has another fault."""
    (root / "masks" / "picture-01.png").unlink()
    Image.new("L", (7, 9)).save(root / "masks" / "picture-02.png")
    (root / "images" / "picture-03.png").write_bytes(b"no picture")
    content = (root / "images" / "picture-04.png").read_bytes()
    (root / "images" / "picture-04.png").write_bytes(content[: len(content) // 2])
    (root / "images" / "picture-05.png").write_bytes(b"")
    return {f"set/picture-0{number}" for number in range(1, 6)}


@pytest.mark.usefixtures("lean")
@pytest.mark.parametrize("holdout", [0.0, 0.5])
def test_all_pairs_that_cannot_be_used_are_named_before_the_first_step(configured, root, tmp_path, holdout):
    expected = _spoil(root)
    with pytest.raises(BadPictures) as caught:
        train(configured(holdout=holdout), tmp_path / "run")
    assert {name for name, _ in caught.value.failures} == expected
    assert len(caught.value.failures) == 5
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.usefixtures("lean")
def test_pairs_that_cannot_be_used_are_named_and_left_out(configured, root, tmp_path, caplog):
    expected = _spoil(write_pairs(root, 20))
    config = configured(on_bad="skip", holdout=0.5, validate_every=2)
    train(config, tmp_path / "run")
    assert {message.split(": ")[0].removeprefix("left out ") for message in caplog.messages} == expected
    assert len(caplog.messages) == 5


@pytest.mark.usefixtures("lean")
def test_faults_of_data_to_validate_on_are_found_before_the_first_step(configured, root, tmp_path):
    other = write_pairs(tmp_path / "other", 4)
    (other / "images" / "picture-02.png").write_bytes(b"no picture")
    with pytest.raises(BadPictures, match="picture-02"):
        train(configured(validation=(str(other),)), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.usefixtures("lean")
def test_two_data_sets_of_one_name_are_both_validated_on(configured, tmp_path):
    roots = [write_pairs(tmp_path / name / "test", num) for name, num in (("a", 3), ("b", 4))]
    result = train(configured(validation=tuple(map(str, roots)), max_steps=1), tmp_path / "run")
    (row,) = (row for row in read_rows(tmp_path / "run" / "metrics.jsonl") if "validation" in row)
    assert len(row["validation"]) == 2
    assert len({name.split()[0] for name in result.scores}) == 2


@pytest.mark.usefixtures("lean")
def test_without_data_the_error_says_so(configured, tmp_path):
    with pytest.raises(InvalidDataset, match="nothing to train on"):
        train(configured(data=()), tmp_path / "run")
