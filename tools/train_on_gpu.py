"""Train on a GPU of another machine that takes its data in pieces, gives back small files, and is lent for minutes.

`tools/data_pieces.py` packs the data here. There, with its files in one folder, and nothing but torch, Pillow and this
checkout:

    python tools/train_on_gpu.py teach PIECES TAUGHT
    python tools/train_on_gpu.py train TAUGHT RUN --minutes 8 --out OUT [--set FIELD=VALUE …]

`teach` makes maps of pictures that have none, by the teacher, the mean of a picture and its mirror image, and writes
the same pieces with them. `train` trains as `u2net train` does, until the minutes are over, counted from its start. OUT
gets the averaged weights in 16 bits, as ONNX, each two minutes and at the end, the curves' numbers, and the state of
the run in parts of 15 MiB. Called again, it goes on: with RUN from there, or else from the parts in --resume.
"""

import argparse
import io
import json
import os
import shutil
import signal
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data_pieces import MIB, checked, join, read_tar, split, to_bytes, write_tar
from PIL import Image

from u2net.errors import TrainingInterrupted
from u2net.net import export_onnx, load_checkpoint
from u2net.training import MODERN, TrainConfig, train
from u2net.training.objective import Normalise, Teachers, find_precision
from u2net.training.parallel import find_device

STATE_MIB = 15
WEIGHTS_EVERY_S = 120
NUM_WEIGHTS = 4
RECIPE = replace(
    MODERN, init="u2netp", feeding="checkpoint", schedule="constant", lr=3e-4, warmup_steps=300, ema=0.999,
    batch_size=64, cache="device", workers=8, epochs=1e6, holdout=0.01, validate_every=10**9, sample_every=10**9,
    checkpoint_every=1000, keep=1,
)  # fmt: skip
"""The rate is constant: how many steps the minutes hold is not known before. The average does what its fall would.

Nothing is validated or drawn before the end: that is done better here, with the weights that came back.
"""


def teach(arguments: argparse.Namespace) -> None:
    """Write the pieces that have come with the teacher's maps."""
    taught: Path = arguments.taught
    taught.mkdir(parents=True, exist_ok=True)
    pieces = [piece for piece in checked(arguments.pieces) if not (taught / piece.name).exists()]
    weights = join(arguments.pieces, "teacher", taught / "teacher.onnx")
    if weights is None:
        raise SystemExit("no teacher is here")
    device = find_device(arguments.device)
    normalise = Normalise(load_checkpoint(weights).card.transform).to(device)
    teachers = Teachers(TrainConfig(teachers=(str(weights),) * 2, looks=("plain", "mirrored")), device)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[find_precision("auto", device)]
    for piece in pieces:
        began, files = time.monotonic(), read_tar(piece)
        pictures = [(name, content) for name, content in files if name.startswith("images/")]
        for start in range(0, len(pictures), arguments.batch):
            part = pictures[start : start + arguments.batch]
            arrays = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for _, content in part]
            images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(device)
            with torch.autocast(device.type, kind, enabled=kind is not torch.float32):
                maps = teachers(normalise(images))[:, 0].round().byte().cpu().numpy()
            for (name, _), levels in zip(part, maps, strict=True):
                files.append((f"masks/{Path(name).stem}.png", to_bytes(Image.fromarray(levels), "PNG")))
        write_tar(taught / piece.name, files)
        rate = len(pictures) / (time.monotonic() - began)
        print(f"{piece.name}: {len(pictures)} maps, {rate:,.1f} a second", flush=True)


def train_for(arguments: argparse.Namespace) -> None:
    """Train until the minutes are over, and leave in OUT what is to come back."""
    began = time.monotonic()
    run, out = arguments.run, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if not run.exists() and arguments.resume:
        restore(arguments.resume, run)
    config = options(arguments)
    signalled = threading.Timer(60 * arguments.minutes, os.kill, (os.getpid(), signal.SIGTERM))
    signalled.daemon = True
    signalled.start()
    told_at, told = began, 0

    def watch(_total: int, row: dict[str, Any]) -> None:
        nonlocal told_at, told
        now, step = time.monotonic(), row["step"]
        if "loss" in row and now - told_at > min(20, 6 * arguments.minutes):
            rate = (step - told) * config.batch_size / (now - told_at)
            print(f"step {step}, loss {row['loss']:.4f}, {rate:,.1f} pictures a second", flush=True)
            told_at, told = now, step
            keep_weights(run, out)

    try:
        result = train(config, run, watch=watch)
        print(f"all {result.num_steps} steps are done")
    except TrainingInterrupted as ended:
        print(f"after {time.monotonic() - began:.0f} s: {ended}")
    finally:
        signalled.cancel()
    keep_weights(run, out, at_once=True)
    keep_state(run, out)


def options(arguments: argparse.Namespace) -> TrainConfig:
    """The recipe, with the pieces that are here and the fields that were given."""
    data = tuple(str(piece) for piece in sorted(arguments.taught.glob("pictures-*.tar")))
    config = replace(RECIPE, data=data, device=arguments.device)
    config = replace(config, compile=find_device(arguments.device).type == "cuda" and not arguments.plain)
    fields = (given.split("=", 1) for given in arguments.set)
    return replace(config, **{name: json.loads(value) for name, value in fields})


def snapshots(run: Path) -> list[Path]:
    """The run's, the newest last."""
    return sorted(path for path in (run / "checkpoints").glob("step-*") if path.name[5:].isdigit())


def keep_weights(run: Path, out: Path, *, at_once: bool = False) -> None:
    """Put the newest averaged weights into OUT, in 16 bits, if the last ones there are old enough."""
    kept = sorted(out.glob("weights-*.onnx"))
    newest = snapshots(run)[-1:]
    if not newest or (kept and not at_once and time.time() - kept[-1].stat().st_mtime < WEIGHTS_EVERY_S):
        return
    network, card = load_checkpoint(newest[0] / "weights.safetensors")
    export_onnx(network, out / f"weights-{newest[0].name[5:]}.onnx", card, half=True)
    for old in kept[: 1 - NUM_WEIGHTS]:
        old.unlink()


def keep_state(run: Path, out: Path) -> None:
    """Put what another machine needs to go on into OUT, in parts; nothing, if no step was done."""
    if not snapshots(run):
        return
    shutil.copy(run / "metrics.jsonl", out / "metrics.jsonl")
    with tarfile.open(run.with_suffix(".tar"), "w") as tar:
        for path in (run / "config.json", run / "metrics.jsonl", *snapshots(run)[-1:]):
            tar.add(path, path.relative_to(run))
    for old in out.glob("state.part*"):
        old.unlink()
    split(run.with_suffix(".tar"), out, "state", STATE_MIB * MIB)


def restore(folder: Path, run: Path) -> None:
    """Make the run's folder from the parts that came back."""
    run.mkdir(parents=True)
    if join(folder, "state", run.with_suffix(".tar")) is None:
        raise SystemExit(f"no state is in {folder}")
    with tarfile.open(run.with_suffix(".tar")) as tar:
        tar.extractall(run, filter="data")


def main() -> None:
    """Teach or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("teach")
    verb.set_defaults(do=teach)
    verb.add_argument("pieces", type=Path)
    verb.add_argument("taught", type=Path)
    verb.add_argument("--device", default="auto")
    verb.add_argument("--batch", type=int, default=32)
    verb = verbs.add_parser("train")
    verb.set_defaults(do=train_for)
    verb.add_argument("taught", type=Path)
    verb.add_argument("run", type=Path)
    verb.add_argument("--minutes", type=float, required=True)
    verb.add_argument("--out", type=Path, required=True)
    verb.add_argument("--resume", type=Path, help="folder of the parts that came back")
    verb.add_argument("--device", default="auto")
    verb.add_argument("--plain", action="store_true", help="do not compile the network, which takes a minute or two")
    verb.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of TrainConfig, as JSON"
    )
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()
