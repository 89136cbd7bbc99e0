"""Whole training steps: ours, as configured by a preset, beside the authors' recipe written plainly.

The plain recipe is the same network in float32 and torch's default layout, seven sigmoids with binary cross-entropy,
and Adam, as in the authors' script. Ours is what `u2net train` runs on pixels that lie ready: normalisation, autocast,
loss, gradient, optimiser, and the average of weights. Both take the same pictures, in turns, each in a process of its
own, since what ours asks of the C library holds for all of a process.

    python benchmarks/train.py [--quick] [--device cuda] [--batch N] [--rounds N] [--json FILE]

prints images/s of both, the ratio with its spread, peak memory, and how far ours is from the floor: three times the
network's multiplications, of which one is forward and two are backward, at the rate at which this machine multiplies
matrices in the precision of the row. A second table has the augmentation of 64 pictures, all at once and one by one:
operations that a GPU would be told to do, and time on this CPU.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from bench import cpu, in_turns, new_parser, publish, ratio_row, table, with_spread
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from u2net.net import U2NET, U2NETP, U2Net
from u2net.system.process import kept_heaps
from u2net.training import MODERN, PAPER, TrainConfig
from u2net.training.augment import augment, find_subjects
from u2net.training.objective import Normalise, Objective, find_precision, new_network
from u2net.training.optimizer import set_training
from u2net.training.parallel import World
from u2net.training.snapshot import State

CROP = 288
MULTIPLICATIONS = {"u2netp": 19.76e9, "u2net": 58.60e9}  # at 320 × 320, as benchmarks/network.py counts them
NUM_AUGMENTED = 64
FREE = ("empty", "new_empty", "_unsafe_view")  # what gives a GPU nothing to do, besides views
Step = Callable[[], None]


class Side:
    """One side's steps, in a process of its own."""

    def __init__(self, *what: object) -> None:
        self.ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=take_steps, args=(theirs, *what), daemon=True)
        self.process.start()

    def step(self) -> float:
        """Take a step, and tell its seconds."""
        self.ours.send(True)
        seconds: float = self.ours.recv()
        return seconds

    def end(self) -> int:
        """The peak of its memory, in MiB."""
        self.ours.send(False)
        peak: int = self.ours.recv()
        self.process.join()
        return peak


def take_steps(link: Connection, side: str, model: str, preset: str, batch: int, device: torch.device) -> None:
    """What the process of a side does."""
    with kept_heaps() if side == "ours" and device.type == "cpu" else nullcontext():
        step = new_step(side, model, preset, batch, device)
        while link.recv():
            link.send(seconds(step, device))
        link.send(peak_mib(device))


def plain_step(model: str, images: torch.Tensor, masks: torch.Tensor) -> Step:
    """The authors' recipe."""
    network = U2Net(U2NETP if model == "u2netp" else U2NET).to(images.device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    entropy = nn.BCELoss()
    normalise = Normalise(new_network(PAPER)[1]).to(images.device)

    def step() -> None:
        optimizer.zero_grad()
        pictures, truth = normalise(images), masks / 255
        loss = sum(entropy(logits.sigmoid(), truth) for logits in network(pictures))
        loss.backward()
        optimizer.step()

    return step


def our_step(config: TrainConfig, images: torch.Tensor, masks: torch.Tensor) -> Step:
    """One step of `u2net train`."""
    network, transform = new_network(config)
    state = State(network, config, World(0, 1, images.device))
    objective: nn.Module = Objective(network, config, transform).to(images.device)
    if config.compile:
        objective = torch.compile(objective)
    set_training(network, config)

    def step() -> None:
        objective(images, masks).total.backward()
        if config.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.average.update(state.step)
        state.step += 1

    return step


def new_batch(num: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of noise with a square subject."""
    images = torch.randint(256, (num, 3, CROP, CROP), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(num, 1, CROP, CROP, dtype=torch.uint8)
    masks[..., 60:200, 80:220] = 255
    return images.to(device), masks.to(device)


def matrix_rate(device: torch.device, precision: str) -> float:
    """Multiplications a second of a product of matrices, the best of five."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.rand(side, side, device=device).to(kind) for _ in range(2))
    return side**3 / min(seconds(lambda: a @ b, device) for _ in range(5))


def seconds(step: Step, device: torch.device) -> float:
    """Time of one call, the device's work included."""
    began = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def peak_mib(device: torch.device) -> int:
    """The peak of this process's memory on a device."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) >> 10


def new_step(side: str, model: str, preset: str, batch: int, device: torch.device) -> Step:
    """A side's step on pictures that both sides see."""
    images, masks = new_batch(batch, device)
    if side == "theirs":
        return plain_step(model, images, masks)
    config = {"paper": PAPER, "modern": MODERN}[preset]
    precision = find_precision("auto", device)
    on_gpu = device.type == "cuda"
    return our_step(replace(config, model=model, precision=precision, compile=on_gpu, batch_size=batch), images, masks)


def compare(model: str, preset: str, batch: int, num_rounds: int, device: torch.device) -> dict[str, object]:
    """One row of the table."""
    sides = [Side(side, model, preset, batch, device) for side in ("ours", "theirs")]
    rounds = in_turns([side.step for side in sides], num_rounds)
    peaks = [side.end() for side in sides]
    ours, theirs = ([batch / taken for taken in side] for side in zip(*rounds, strict=True))
    precision = find_precision("auto", device)
    floor = 3 * batch * MULTIPLICATIONS[model] * (CROP / 320) ** 2 / matrix_rate(device, precision)
    name = f"{'U²-Net†' if model == 'u2netp' else 'U²-Net'}, {preset}, batch {batch}, {precision}"
    return ratio_row(name, "images/s", ours, theirs, rate=True) | {
        "ours_mib": peaks[0],
        "theirs_mib": peaks[1],
        "times_the_floor": round(batch / statistics.median(ours) / floor, 2),
    }


class Launches(TorchDispatchMode):
    """Counts operations that a GPU would be told to do: all but views, and room for results."""

    num = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        """Note one, and do it."""
        self.num += not (function.is_view or function.overloadpacket.__name__.startswith(FREE))
        return function(*args, **(kwargs or {}))


def augmentation(num_rounds: int) -> dict[str, object]:
    """Operations and times of the augmentation of so many pictures, at once and one by one."""
    images, masks = new_batch(NUM_AUGMENTED, torch.device("cpu"))
    subjects = find_subjects(masks)

    def vary(parts: Sequence[slice]) -> None:
        rngs = [np.random.default_rng(seed) for seed in range(NUM_AUGMENTED)]
        for part in parts:
            augment(images[part], masks[part], "modern", CROP - 32, rngs[part], subjects[part])

    ways = {"ours": [slice(None)], "theirs": [slice(at, at + 1) for at in range(NUM_AUGMENTED)]}
    num = {}
    for side, parts in ways.items():
        vary(parts)  # makes what is made once
        with Launches() as launches:
            vary(parts)
        num[f"{side}_operations"] = launches.num
    device = torch.device("cpu")
    rounds = in_turns([lambda parts=parts: seconds(lambda: vary(parts), device) for parts in ways.values()], num_rounds)
    ours, theirs = ([NUM_AUGMENTED / taken for taken in side] for side in zip(*rounds, strict=True))
    return ratio_row("modern", "images/s", ours, theirs, rate=True) | num


def to_markdown(rows: list[dict[str, object]], augmented: dict[str, object]) -> str:
    """The tables that people read."""
    head = ["", "ours, images/s", "plain, images/s", "ratio", "peak, MiB: ours, plain", "times the floor"]
    keys = ("name", "ours", "theirs")
    cells = (
        [*(r[k] for k in keys), with_spread(r), f"{r['ours_mib']:,}, {r['theirs_mib']:,}", r["times_the_floor"]]
        for r in rows
    )
    heads = [f"augmentation of {NUM_AUGMENTED}", "at once", "one by one", "ratio"]
    operations = [augmented[f"{side}_operations"] for side in ("ours", "theirs")]
    more = [
        ["operations", *operations, ""],
        ["images/s on the CPU", augmented["ours"], augmented["theirs"], with_spread(augmented)],
    ]
    return f"{table(head, cells)}\n{table(heads, more)}"


def main() -> None:
    """Compare, print, write if asked."""
    parser = new_parser(__doc__, "the small network alone, five rounds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    kinds = [("u2netp", "paper"), ("u2netp", "modern")] + ([] if arguments.quick else [("u2net", "paper")])
    num_rounds = 5 if arguments.quick else arguments.rounds
    rows = [compare(model, preset, arguments.batch, num_rounds, device) for model, preset in kinds]
    augmented = augmentation(num_rounds)
    machine = torch.cuda.get_device_name() if device.type == "cuda" else cpu()
    facts = {"machine": machine, "torch": torch.__version__, "rows": rows, "augmentation": augmented}
    publish(arguments, facts, to_markdown(rows, augmented), f"on {machine}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
