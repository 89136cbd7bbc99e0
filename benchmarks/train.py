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
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from machine import commit, cpu
from torch import nn

from u2net.net import U2NET, U2NETP, U2Net
from u2net.training import MODERN, PAPER, TrainConfig
from u2net.training.loader import normalise
from u2net.training.objective import Objective, find_precision, new_network
from u2net.training.optimizer import set_training
from u2net.training.parallel import World
from u2net.training.state import State

CROP = 288
MULTIPLICATIONS = {"u2netp": 19.76e9, "u2net": 58.60e9}  # at 320 × 320, as benchmarks/network.py counts them
Step = Callable[[], None]


def plain_step(model: str, images: torch.Tensor, masks: torch.Tensor) -> Step:
    """The authors' recipe."""
    network = U2Net(U2NETP if model == "u2netp" else U2NET).to(images.device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    entropy = nn.BCELoss()
    transform = new_network(PAPER)[1]

    def step() -> None:
        optimizer.zero_grad()
        pictures, truth = normalise(images, transform), masks / 255
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
        seconds(step, device), seconds(step, device)
    rounds = [{side: seconds(step, device) for side, step in sides.items()} for _ in range(num_rounds)]
    ratios = sorted(r["theirs"] / r["ours"] for r in rounds)
    medians = {side: statistics.median(r[side] for r in rounds) for side in sides}
    precision = find_precision("auto", device)
    floor = 3 * batch * MULTIPLICATIONS[model] * (CROP / 320) ** 2 / matrix_rate(device, precision)
    return {
        "name": f"{'U²-Net†' if model == 'u2netp' else 'U²-Net'}, {preset}, batch {batch}, {precision}",
        "unit": "images/s",
        "ours": round(batch / medians["ours"], 3),
        "theirs": round(batch / medians["theirs"], 3),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_min": round(ratios[0], 2),
        "ratio_max": round(ratios[-1], 2),
        "rounds": num_rounds,
        "ours_mib": peak_mib("ours", model, preset, batch, device),
        "theirs_mib": peak_mib("theirs", model, preset, batch, device),
        "times_the_floor": round(medians["ours"] / floor, 2),
    }


def to_markdown(rows: list[dict[str, object]]) -> str:
    """The table that people read."""
    lines = [
        "| | ours, images/s | plain, images/s | ratio | peak, MiB: ours, plain | times the floor |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['name']} | {r['ours']} | {r['theirs']} | {r['ratio']} [{r['ratio_min']}–{r['ratio_max']}] "
        f"| {r['ours_mib']:,}, {r['theirs_mib']:,} | {r['times_the_floor']} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare, print, write if asked."""
    parser = argparse.ArgumentParser(description="Time training steps beside the authors' recipe.")
    parser.add_argument("--quick", action="store_true", help="the small network alone, five rounds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, and as Markdown beside it")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.alone:
        print(alone(*arguments.alone, arguments.batch, device))
        return
    kinds = [("u2netp", "paper"), ("u2netp", "modern")] + ([] if arguments.quick else [("u2net", "paper")])
    num_rounds = 5 if arguments.quick else arguments.rounds
    rows = [compare(model, preset, arguments.batch, num_rounds, device) for model, preset in kinds]
    print(to_markdown(rows))
    if arguments.json:
        place = torch.cuda.get_device_name() if device.type == "cuda" else cpu()
        about = {
            "command": "python benchmarks/train.py",
            "machine": place,
            "torch": torch.__version__,
            "commit": commit(),
        }
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
        where = f"`{about['command']}` at {about['commit']}: {place}, torch {torch.__version__}."
        arguments.json.with_suffix(".md").write_text(f"{where}\n\n{to_markdown(rows)}")


if __name__ == "__main__":
    main()
