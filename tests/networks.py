"""Networks that cost little: the packaged ones, whose maps are computed once, and one that sees colours alone."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import ROOT

from u2net.inference.open import new_session
from u2net.inference.session import Session
from u2net.models.transform import Transform

RED_MODEL = ROOT / "tests/golden/red.onnx"
"""Takes what is more red than blue for the subject: for commands in processes, where what is seen does not matter."""

_NUM_KEPT = 32  # 400 KiB each
_opened: list["RememberedNetwork"] = []


class RememberedNetwork:
    """A backend that asks the runtime for what it has not seen lately; it opens it when it needs it."""

    def __init__(self, open_backend: Callable[[], Callable]) -> None:
        self._open = open_backend
        self._backend: Callable | None = None
        self._known: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        _opened.append(self)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        key = (batch.shape, hashlib.sha256(batch.tobytes()).digest())
        with self._lock:
            if key not in self._known:
                self._known[key] = self._runtime()(batch)
                if len(self._known) > _NUM_KEPT:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return self._known[key].copy()

    def _runtime(self) -> Callable:
        backend = self._backend
        if backend is None:
            let_go_of_runtimes()  # one at a time
            self._backend = backend = self._open()
        return backend

    def let_go(self) -> None:
        """Of the runtime, which holds 270 MB; what it put out stays known."""
        self._backend = None


def let_go_of_runtimes() -> None:
    for network in _opened:
        network.let_go()


def remembered_session(name: str) -> Session:
    """A packaged model on one thread of ONNX Runtime, in the numbers that every runtime gives alike."""

    def open_model() -> Session:
        return new_session(name, runtime="onnxruntime", precision="fp32", threads=1)

    return Session(RememberedNetwork(lambda: open_model().backend), open_model().card)


@contextmanager
def open_anywhere(path: Path, runtime: str, transform: Transform | None = None) -> Iterator[Session]:
    """A session in a runtime, or in torch, of one thread: waiting for each other, several take minutes on a busy
    machine. Skips the test where the runtime is not installed."""
    if runtime != "torch":
        pytest.importorskip(runtime)
        yield new_session(path, runtime=runtime, threads=1, transform=transform)
        return
    torch = pytest.importorskip("torch")
    from u2net.net.backend import torch_backend
    from u2net.net.weight_files import load_checkpoint

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    network, card = load_checkpoint(path)
    yield Session(torch_backend(network), replace(card, transform=transform or card.transform))
    torch.set_num_threads(before)
