"""Whole training steps: ours, as configured by a preset, beside the authors' recipe written plainly.

The plain recipe is the same network in float32 and torch's default layout, seven sigmoids with binary cross-entropy,
and Adam, as in the authors' script. Ours is what `u2net train` runs on pixels that lie ready: normalisation, autocast,
loss, gradient, optimiser, and the average of weights. Both take the same pictures, in turns.

    python benchmarks/train.py [--quick] [--device cuda] [--batch N] [--rounds N] [--json FILE]

prints images/s of both, the ratio with its spread, peak memory, and how far ours is from the floor: three times the
network's multiplications, of which one is forward and two are backward, at the rate at which this machine multiplies
matrices in the precision of the row.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from bench import cpu, in_turns, new_parser, publish, ratio_row, table, with_spread
from torch import nn

from u2net.net import U2NET, U2NETP, U2Net
from u2net.training import MODERN, PAPER, TrainConfig
from u2net.training.objective import Normalise, Objective, find_precision, new_network
from u2net.training.optimizer import set_training
from u2net.training.parallel import World
from u2net.training.snapshot import State

CROP = 288
MULTIPLICATIONS = {"u2netp": 19.76e9, "u2net": 58.60e9}  # at 320 × 320, as benchmarks/network.py counts them
Step = Callable[[], None]


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


def peak_mib(side: str, model: str, preset: str, batch: int, device: torch.device) -> int:
    """Peak memory of three steps of one side, in a process of its own."""
    command = [sys.executable, __file__, "--device", str(device), "--batch", str(batch), "--alone", side, model, preset]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def alone(side: str, model: str, preset: str, batch: int, device: torch.device) -> int:
    """Take three steps and tell the peak of this process's memory, in MiB."""
    step = new_step(side, model, preset, batch, device)
    for _ in range(3):
        step()
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
    sides = {side: new_step(side, model, preset, batch, device) for side in ("ours", "theirs")}
    for step in sides.values():
        seconds(step, device)
    rounds = in_turns([lambda step=step: seconds(step, device) for step in sides.values()], num_rounds)
    ours, theirs = ([batch / taken for taken in side] for side in zip(*rounds, strict=True))
    precision = find_precision("auto", device)
    floor = 3 * batch * MULTIPLICATIONS[model] * (CROP / 320) ** 2 / matrix_rate(device, precision)
    name = f"{'U²-Net†' if model == 'u2netp' else 'U²-Net'}, {preset}, batch {batch}, {precision}"
    return ratio_row(name, "images/s", ours, theirs, rate=True) | {
        "ours_mib": peak_mib("ours", model, preset, batch, device),
        "theirs_mib": peak_mib("theirs", model, preset, batch, device),
        "times_the_floor": round(batch / statistics.median(ours) / floor, 2),
    }


def to_markdown(rows: list[dict[str, object]]) -> str:
    """The table that people read."""
    head = ["", "ours, images/s", "plain, images/s", "ratio", "peak, MiB: ours, plain", "times the floor"]
    keys = ("name", "ours", "theirs")
    cells = (
        [*(r[k] for k in keys), with_spread(r), f"{r['ours_mib']:,}, {r['theirs_mib']:,}", r["times_the_floor"]]
        for r in rows
    )
    return table(head, cells)


def main() -> None:
    """Compare, print, write if asked."""
    parser = new_parser(__doc__, "the small network alone, five rounds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.alone:
        print(alone(*arguments.alone, arguments.batch, device))
        return
    kinds = [("u2netp", "paper"), ("u2netp", "modern")] + ([] if arguments.quick else [("u2net", "paper")])
    num_rounds = 5 if arguments.quick else arguments.rounds
    rows = [compare(model, preset, arguments.batch, num_rounds, device) for model, preset in kinds]
    machine = torch.cuda.get_device_name() if device.type == "cuda" else cpu()
    facts = {"machine": machine, "torch": torch.__version__, "rows": rows}
    publish(arguments, facts, to_markdown(rows), f"on {machine}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
