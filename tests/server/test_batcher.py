import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from u2net.errors import SessionClosed
from u2net.server.batcher import Batcher, GivenUp


def _twice(batch):
    return batch[:, :1] * 2


def _ask(batcher, value):
    return float(batcher(np.full((1, 3, 2, 2), value, dtype=np.float32))[0, 0, 0, 0])


@pytest.fixture
def batches():
    return []


def _ask_all(batcher, values):
    with ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(lambda value: _outcome(batcher, value), values))


def _outcome(batcher, value):
    try:
        return _ask(batcher, value)
    except Exception as error:
        return error


def test_what_is_asked_together_is_run_together(batches):
    batcher = Batcher(_twice, max_batch=4, max_delay_s=10.0, watch=batches.append)
    assert _ask_all(batcher, [1, 2, 3, 4]) == [2, 4, 6, 8]
    assert batches == [4]
    batcher.close()


def test_a_batch_is_no_larger_than_the_largest(batches):
    gate = threading.Event()

    def network(batch):
        gate.wait(30)
        return _twice(batch)

    batcher = Batcher(network, max_batch=3, max_delay_s=0.01, watch=batches.append)
    threading.Timer(0.3, gate.set).start()
    assert _ask_all(batcher, list(range(10))) == [2 * value for value in range(10)]
    assert max(batches) <= 3
    assert sum(batches) == 10
    batcher.close()


def test_one_alone_does_not_wait_for_others(batches):
    batcher = Batcher(_twice, max_batch=8, max_delay_s=0.001, watch=batches.append)
    assert _ask(batcher, 5) == 10
    assert batches == [1]
    batcher.close()


def test_a_picture_that_cannot_be_run_fails_alone():
    def network(batch):
        if (batch == 3).any():
            raise ValueError("three")
        return _twice(batch)

    batcher = Batcher(network, max_batch=8, max_delay_s=10.0)
    outcomes = _ask_all(batcher, [0, 1, 2, 3, 4, 5, 6, 7])
    assert [outcome for outcome in outcomes if not isinstance(outcome, Exception)] == [0, 2, 4, 8, 10, 12, 14]
    assert isinstance(outcomes[3], ValueError)
    batcher.close()


def test_a_batch_that_memory_has_no_room_for_is_run_in_halves(batches):
    def network(batch):
        if len(batch) > 2:
            raise MemoryError
        return _twice(batch)

    batcher = Batcher(network, max_batch=8, max_delay_s=10.0, watch=batches.append)
    assert _ask_all(batcher, list(range(8))) == [2 * value for value in range(8)]
    assert batches == [8, 4, 2, 2, 4, 2, 2]
    batcher.close()


def test_it_goes_on_after_failures():
    fails = [True]

    def network(batch):
        if fails.pop() if fails else False:
            raise MemoryError
        return _twice(batch)

    batcher = Batcher(network, max_batch=8, max_delay_s=0.0)
    with pytest.raises(MemoryError):
        _ask(batcher, 1)
    assert _ask(batcher, 1) == 2
    batcher.close()


def test_what_nobody_wants_is_not_run(batches):
    batcher = Batcher(_twice, max_batch=8, max_delay_s=0.0, watch=batches.append)
    with pytest.raises(GivenUp):
        batcher(np.zeros((1, 3, 2, 2), np.float32), lambda: False)
    assert not batches
    batcher.close()


def test_a_network_that_gives_too_few_maps_is_an_error():
    batcher = Batcher(lambda batch: batch[:0], max_batch=1, max_delay_s=0.0)
    with pytest.raises(ValueError, match="0 maps for 1"):
        _ask(batcher, 1)
    batcher.close()


def test_closed_it_finishes_what_was_asked_and_refuses_the_rest():
    entered = threading.Event()

    def slow(batch):
        entered.set()
        time.sleep(0.1)
        return _twice(batch)

    batcher = Batcher(slow, max_batch=1, max_delay_s=0.0)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(_ask, batcher, value) for value in range(3)]
        entered.wait(30)
        while batcher._asked.qsize() < 2:
            time.sleep(0.01)
        batcher.close()
        assert [one.result() for one in asked] == [0, 2, 4]
    with pytest.raises(SessionClosed):
        _ask(batcher, 1)
    batcher.close()


def test_a_batched_mask_is_that_of_the_picture_alone(packaged):
    inputs = np.random.default_rng(0).normal(size=(2, 3, 320, 320)).astype(np.float32)
    alone = np.concatenate([packaged.backend(inputs[index : index + 1]) for index in range(2)])
    batcher = Batcher(packaged.backend, max_batch=2, max_delay_s=60.0)
    with ThreadPoolExecutor(2) as pool:
        together = np.concatenate(list(pool.map(lambda i: batcher(inputs[i : i + 1]), range(2))))
    assert np.abs(together - alone).max() < 1e-5
    batcher.close()
