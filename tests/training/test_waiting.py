"""What would make a step wait for a GPU: told from the operations of a step on a CPU."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from training.pairs import write_pairs
from u2net.training import appearance, augment, loop, sampling, store
from u2net.training.loop import train
from u2net.training.objective import Objective, new_network

WAITING = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "allclose", "unique", "bincount"}
"""Operations whose result, or the size of it, the CPU must know before it goes on."""


class _Watched(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.names[name] += 1
        if name in ("index", "index_put", "index_put_"):  # by a mask, it is a nonzero first
            assert not any(part is not None and part.dtype in (torch.bool, torch.uint8) for part in args[1])
        return function(*args, **(kwargs or {}))


@pytest.mark.usefixtures("lean")
@pytest.mark.parametrize(
    "fields",
    [
        {"iou": 1.0, "edge": 2.0, "ssim": 1.0, "clip_norm": 1.0, "ema": 0.9, "optimizer": "adamw", "accumulate": 2},
        {"teachers": True, "precision": "bf16", "looks": ("smaller-mirrored", "plain")},
        {"classes": ("background", "shirt", "trousers"), "iou": 1.0, "edge": 1.0, "class_weights": (1.0, 2.0, 2.0)},
        {"augment": "paper", "feeding": "authors"},
    ],
)
def test_a_step_waits_for_nothing(configured, tmp_path, monkeypatch, fields):
    options = {"augment": "modern", "cache": "device", "holdout": 0.0, "feeding": "antialiased"} | fields
    if "classes" in fields:
        options["data"] = (str(write_pairs(tmp_path / "classes", 8, classes=3)),)
    if "teachers" in fields:
        options["teachers"] = (str(train(configured(max_steps=1), tmp_path / "teacher").weights),) * 2
    sent = Counter()
    to_device = sampling.to_device
    for module in (sampling, augment, appearance, store):
        monkeypatch.setattr(module, "to_device", lambda *given: (sent.update(["sent"]), to_device(*given))[1])
    step, steps = loop._Training._step, []

    def watched(self, batches):
        sent.clear()
        with _Watched() as operations:
            step(self, batches)
        steps.append(operations.names)
        assert operations.names["lift_fresh"] == sent["sent"], "numbers became a tensor on the way"

    monkeypatch.setattr(loop._Training, "_step", watched)
    train(configured(max_steps=3, **options), tmp_path / "run")
    assert len(steps) == 3
    for names in steps:
        assert names["convolution_backward"]
        assert not WAITING & names.keys()


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("fields", [{}, {"iou": 1.0, "ssim": 1.0, "edge": 2.0}])
def test_the_objective_is_one_graph_to_a_compiler(configured, fields):
    config = configured(**fields)
    network, transform = new_network(config)
    objective = torch.compile(Objective(network, config, transform), backend="eager", fullgraph=True)
    masks = torch.full((2, 1, 32, 32), 255, dtype=torch.uint8)
    assert objective(masks.expand(-1, 3, -1, -1), masks).total.isfinite()
