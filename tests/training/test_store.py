import os
import shutil
from collections import Counter, namedtuple
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from needs import ON_WINDOWS
from PIL import Image

from training.pairs import write_pair, write_pairs
from u2net.errors import BadPictures, NotEnoughRoom
from u2net.models.transform import Transform
from u2net.training import store as storing
from u2net.training.config import TrainConfig
from u2net.training.examples import Examples, open_examples
from u2net.training.store import open_store

CACHES = ("none", "memory", "disk", "device")
CPU = torch.device("cpu")
SMALL = Transform(size=(24, 20), antialias=True)


def pair_of(store, index):
    """Picture and mask of an example."""
    images, masks, _ = store.take([index])
    return images[0], masks[0]


@pytest.fixture
def root(tmp_path) -> Path:
    return write_pairs(tmp_path / "set", 6)


@pytest.fixture
def loads(monkeypatch) -> Counter:
    """How often each example was decoded."""
    counts: Counter[int] = Counter()
    load = Examples.load

    def counted(self, index):
        counts[index] += 1
        return load(self, index)

    monkeypatch.setattr(Examples, "load", counted)
    return counts


def _config(root: Path, **fields) -> TrainConfig:
    return TrainConfig(data=(str(root),), **{"holdout": 0.0, "workers": 2, "cache": "disk", **fields})


def _open(config: TrainConfig, folder: Path, transform: Transform = SMALL, **options):
    examples, _ = open_examples(config)
    folder.mkdir(exist_ok=True)
    return open_store(examples, config, transform, folder, CPU, **options)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("antialias", [False, True])
def test_every_cache_holds_what_the_transform_resizes(root, tmp_path, cache, antialias):
    transform = replace(SMALL, antialias=antialias)
    store, failures = _open(_config(root, cache=cache), tmp_path / "run", transform)
    assert failures == []
    for index in range(6):
        image, mask = pair_of(store, index)
        assert (image.dtype, mask.dtype) == (torch.uint8, torch.uint8)
        picture, truth = (Image.open(root / folder / f"picture-{index:02}.png") for folder in ("images", "masks"))
        np.testing.assert_allclose(image.permute(1, 2, 0), transform.resize(picture), atol=0.5001)
        kernel = Image.Resampling.BILINEAR if antialias else Image.Resampling.NEAREST
        np.testing.assert_array_equal(mask[0], truth.resize((24, 20), kernel))


def test_indices_are_sampled_even_where_pictures_are_smoothed(root, tmp_path):
    for mask in (root / "masks").iterdir():
        Image.open(mask).point(lambda level: 2 if level else 0).save(mask)
    store, _ = _open(_config(root, classes=("background", "shirt", "trousers")), tmp_path / "run")
    assert {value for index in range(6) for value in pair_of(store, index)[1].unique().tolist()} == {0, 2}


@pytest.mark.parametrize("cache", CACHES)
def test_opening_decodes_each_pair_once(root, tmp_path, loads, cache):
    _open(_config(root, cache=cache), tmp_path / "run")
    assert loads == dict.fromkeys(range(6), 1)


@pytest.mark.parametrize("cache", ["none", "disk"])
def test_opening_again_decodes_nothing(root, tmp_path, loads, cache):
    (root / "masks/picture-02.png").write_bytes(b"")
    config = _config(root, cache=cache, on_bad="skip")
    store, failures = _open(config, tmp_path / "run")
    before = [pair_of(store, index) for index in range(5)]
    loads.clear()
    store, again = _open(config, tmp_path / "run")
    assert not loads
    ((name, reason),) = failures
    assert again == failures
    assert (name, reason[:10]) == ("set/picture-02", "not a JPEG")
    for index in range(5):
        for one, other in zip(pair_of(store, index), before[index], strict=True):
            assert torch.equal(one, other)


def _touch(root, config, folder):
    os.utime(root / "images/picture-03.png", ns=(0, 0))
    return config, SMALL


def _add(root, config, folder):
    write_pair(root, "picture-99")
    return config, SMALL


def _feed_otherwise(root, config, folder):
    return config, replace(SMALL, antialias=False)


def _lose_the_end(root, config, folder):
    os.truncate(folder / "pairs.bin", 100)
    return config, SMALL


def _take_other_classes(root, config, folder):
    return replace(config, classes=("a", "b", "c"), on_bad="skip", ignore_index=254), SMALL


def _garble_the_record(root, config, folder):
    (folder / "pairs.json").write_text("[]")
    return config, SMALL


CHANGES = [_touch, _add, _feed_otherwise, _lose_the_end, _take_other_classes, _garble_the_record]


@pytest.mark.parametrize("change", CHANGES)
def test_a_cache_on_the_disk_is_made_anew_when_anything_changed(root, tmp_path, loads, change):
    for mask in (root / "masks").iterdir():
        Image.new("L", (40, 32)).save(mask)
    config = _config(root)
    _open(config, tmp_path / "run")
    loads.clear()
    changed, transform = change(root, config, tmp_path / "run")
    store, _ = _open(changed, tmp_path / "run", transform)
    assert set(loads.values()) == {1}
    assert len(loads) == len(store.examples)


def test_data_may_be_moved_without_filling_the_cache_anew(root, tmp_path, loads):
    _open(_config(root), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(root, tmp_path / "elsewhere/set")
    loads.clear()
    _open(_config(tmp_path / "elsewhere/set"), tmp_path / "run")
    assert not loads


def _stop_half_way(numbers):
    for number in numbers:
        if number == 3:
            raise KeyboardInterrupt
        yield number


def test_a_fill_that_was_killed_is_noticed(root, tmp_path, loads):
    _open(_config(root), tmp_path / "run")
    os.utime(root / "images/picture-00.png", ns=(0, 0))
    with pytest.raises(KeyboardInterrupt):
        _open(_config(root), tmp_path / "run", progress=_stop_half_way)
    loads.clear()
    _open(_config(root), tmp_path / "run")
    assert len(loads) == 6


@pytest.mark.parametrize("cache", CACHES)
def test_bad_pairs_stop_the_run_or_are_left_out(root, tmp_path, cache):
    (root / "masks/picture-01.png").unlink()
    (root / "images/picture-03.png").write_bytes(b"")
    config = _config(root, cache=cache)
    with pytest.raises(BadPictures, match="2 pictures cannot be used: set/picture-01 has no mask; set/picture-03"):
        _open(config, tmp_path / "run")
    store, failures = _open(replace(config, on_bad="skip"), tmp_path / "run")
    assert [name for name, _ in failures] == ["set/picture-01", "set/picture-03"]
    assert [entry.name[-2:] for entry in store.examples.entries] == ["00", "02", "04", "05"]
    mask = Image.open(root / "masks/picture-04.png").resize((24, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pair_of(store, 2)[1][0], mask)


@pytest.mark.parametrize("cache", ["memory", "disk", "device"])
def test_a_cache_that_does_not_fit_is_refused_before_anything_is_decoded(root, tmp_path, monkeypatch, loads, cache):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(storing, "available_memory", lambda: 2**10)
    monkeypatch.setattr(storing.shutil, "disk_usage", lambda path: usage(0, 0, 2**10))
    with pytest.raises(NotEnoughRoom, match=r"need .* GiB, and 0.0 GiB are free in"):
        _open(_config(root, cache=cache), tmp_path / "run")
    assert not loads


def test_memory_that_processes_share_is_asked_for_by_itself(root, tmp_path, monkeypatch):
    if not Path("/dev/shm").is_dir():
        pytest.skip("this system has no /dev/shm")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(storing.shutil, "disk_usage", lambda path: usage(0, 0, 2**10))
    with pytest.raises(NotEnoughRoom, match="shm-size"):
        _open(_config(root, cache="memory", workers=2), tmp_path / "run")
    _open(_config(root, cache="memory", workers=0), tmp_path / "run")


@pytest.mark.skipif(ON_WINDOWS, reason="Windows is not asked for its memory")
def test_available_memory_is_some_and_not_more_than_there_is():
    assert 2**20 < storing.available_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("cache", ["none", "disk", "memory"])
def test_other_processes_are_not_sent_the_pictures(tmp_path, cache):
    root = write_pairs(tmp_path / "set", 6)
    transform = Transform(size=(200, 200))
    store, _ = _open(_config(root, cache=cache), tmp_path / "run", transform)
    sent = bytes(ForkingPickler.dumps(store))
    assert len(sent) < 10_000 < 6 * 4 * 200 * 200
    if cache != "memory":  # whose handles are for another process
        assert torch.equal(pair_of(ForkingPickler.loads(sent), 3)[0], pair_of(store, 3)[0])
