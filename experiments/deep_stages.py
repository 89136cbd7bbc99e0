"""Distillation where it is cheap: the deep stages alone learn a teacher's maps, from features that are computed once.

    python experiments/deep_stages.py maps PHOTOS MAPS [--teacher u2net] [--looks 2] [--names FILE]
    python experiments/deep_stages.py features PHOTOS MAPS FEATURES [--view mirrored|cut] [--names FILE] [--bf16]
    python experiments/deep_stages.py train OUT.safetensors FEATURES … --kept-back FEATURES [--keep X] [--lr X] …

`maps` writes what the teacher says of each photograph, in integers and not stretched; two looks are the mean of the
photograph and its mirror image. `features` keeps what the third
encoder stage of u2netp gives for them, 0.8 MB each, and the maps, or true masks, at its size, 80 × 80; NAMES lists
photographs, one a line. A view that is "cut" holds the subject and 70 to 100 % of each side, in other colours, and is
mirrored or not. `train` trains what lies between there and the third decoder stage, and prints, every so many
steps, how far the averaged weights are from the teacher on features that were kept back: cross-entropy above that of
the maps themselves, mean absolute error, soft IoU, and IoU at a half. With --keep, what the third decoder stage gives
to the next, which was trained for it, may not change much: its mean absolute change is added to the loss, times that.
The weights are the whole network's, with those parts in it.
"""

import argparse
import copy
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor, nn
from torch.nn import functional

from u2net import new_session
from u2net.images.load import load_image
from u2net.models.transform import Transform
from u2net.models.zoo import resolve
from u2net.net import U2NETP, U2Net, load_checkpoint, save_checkpoint
from u2net.system.files import atomic_write
from u2net.system.process import kept_heaps
from u2net.training import MODERN, TrainConfig
from u2net.training.loss import Loss
from u2net.training.norms import leave_out_norms, lower_levels
from u2net.training.objective import new_network
from u2net.training.optimizer import Average, freeze, learning_rate, new_optimizer
from u2net.training.parallel import find_layout

SIDE, CHANNELS = 80, 64
FROM = 3  # the first encoder stage that learns
CONFIG = replace(
    MODERN, model="u2netp", feeding="antialiased", freeze_norm=True, edge=0.0, weight_decay=0.0, warmup_steps=30,
    clip_norm=1.0, side_weights=(0.0, 0.0, 0.0, 1.0, 0.5, 0.25, 0.125),
    freeze=("encoder.0", "encoder.1", "encoder.2", "decoder.0", "decoder.1", "sides.0", "sides.1", "fuse"),
)  # fmt: skip
MEASURE = TrainConfig(bce=0.0, iou=1.0, side_weights=(1.0,) + (0.0,) * 6)


def write_maps(arguments: argparse.Namespace) -> None:
    """`maps`: grey PNG files of the photographs' names and sizes; those that exist stay."""
    arguments.maps.mkdir(parents=True, exist_ok=True)
    teacher = new_session(arguments.teacher, runtime="openvino", precision="int8")
    names = arguments.names and arguments.names.read_text().split()
    for photo in sorted(arguments.photos.iterdir()):
        path = arguments.maps / f"{photo.stem}.png"
        if not path.exists() and (names is None or photo.stem in names):
            prediction = teacher.predict(load_image(photo), arguments.looks)
            levels = np.rint(prediction.output[0] * 255).clip(0, 255).astype(np.uint8)
            with atomic_write(path) as file:
                Image.fromarray(levels).resize(prediction.size, Image.Resampling.BILINEAR).save(file, "PNG")


@torch.inference_mode()
def write_features(arguments: argparse.Namespace) -> None:
    """`features`: features.npy, float16 (N, 64, 80, 80), and maps.npy, uint8 (N, 80, 80)."""
    photos, found = ({path.stem: path for path in folder.iterdir()} for folder in (arguments.photos, arguments.maps))
    stems = arguments.names.read_text().split() if arguments.names else list(found)
    network, transform = student(replace(CONFIG, init="u2netp"))
    shallow, draw = network.encoder[:FROM].eval(), np.random.default_rng(0)
    arguments.features.mkdir(parents=True)
    features = new_array(arguments.features / "features.npy", np.float16, (len(stems), CHANNELS, SIDE, SIDE))
    maps = new_array(arguments.features / "maps.npy", np.uint8, (len(stems), SIDE, SIDE))
    for index, stem in enumerate(sorted(stems)):
        photo, levels = Image.open(photos[stem]).convert("RGB"), Image.open(found[stem]).convert("L")
        photo, levels = VIEWS[arguments.view](photo, levels, draw)
        x = torch.from_numpy(transform.preprocess(photo))[None]
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
            for stage in shallow:
                x = stage(x) if stage is shallow[0] else stage(functional.max_pool2d(x, 2))
        features[index] = x[0].float().numpy()
        maps[index] = np.asarray(
            levels.resize((320, 320), Image.Resampling.BILINEAR).resize((SIDE, SIDE), Image.Resampling.BOX)
        )


def mirrored(photo: Image.Image, levels: Image.Image, _: Generator) -> tuple[Image.Image, Image.Image]:
    """Both turned over."""
    flip = Image.Transpose.FLIP_LEFT_RIGHT
    return photo.transpose(flip), levels.transpose(flip)


def cut(photo: Image.Image, levels: Image.Image, draw: Generator) -> tuple[Image.Image, Image.Image]:
    """A part that holds the subject, in other colours."""
    if draw.random() < 0.5:
        photo, levels = mirrored(photo, levels, draw)
    width, height = photo.size
    left, top, right, bottom = levels.point([0] * 128 + [255] * 128).getbbox() or (0, 0, width, height)
    across, down = (
        max(int(width * draw.uniform(0.7, 1)), right - left),
        max(int(height * draw.uniform(0.7, 1)), bottom - top),
    )
    x = int(draw.integers(max(0, right - across), min(left, width - across), endpoint=True))
    y = int(draw.integers(max(0, bottom - down), min(top, height - down), endpoint=True))
    box = x, y, x + across, y + down
    photo = photo.crop(box)
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        photo = kind(photo).enhance(draw.uniform(0.75, 1.3))
    return photo, levels.crop(box)


VIEWS = {"plain": lambda photo, levels, _: (photo, levels), "mirrored": mirrored, "cut": cut}


def new_array(path: Path, kind: type, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """An array in a file."""
    return np.lib.format.open_memmap(path, "w+", kind, shape)


class Deep(nn.Module):
    """What learns: features (B, 64, 80, 80) in; out, in their size, logits of side outputs 3 to 6, and features."""

    def __init__(self, network: U2Net) -> None:
        super().__init__()
        self.encoder, self.decoder = network.encoder[FROM:], network.decoder[FROM - 1 :]
        self.sides = network.sides[FROM - 1 :]

    def forward(self, features: Tensor) -> tuple[list[Tensor], Tensor]:
        """The logits, (B, 1, 80, 80) each, and what the third decoder stage gives, (B, 64, 80, 80)."""
        skips = [features]
        for stage in self.encoder:
            skips.append(stage(functional.max_pool2d(skips[-1], 2)))
        maps = [skips[-1]]
        for stage, skip in zip(reversed(self.decoder), reversed(skips[:-1]), strict=True):
            maps.insert(0, stage(torch.cat((resized(maps[0], skip), skip), dim=1)))
        return [resized(side(x), features) for side, x in zip(self.sides, maps, strict=True)], maps[0]


def resized(x: Tensor, target: Tensor) -> Tensor:
    """In the target's height and width."""
    return functional.interpolate(x, size=target.shape[-2:], mode="bilinear", align_corners=False)


@dataclass
class Views:
    """Features and maps of several folders, as one list."""

    folders: list[Path]

    def __post_init__(self) -> None:
        self.features = [np.load(folder / "features.npy", mmap_mode="r") for folder in self.folders]
        self.maps = [np.load(folder / "maps.npy", mmap_mode="r") for folder in self.folders]
        self.ends = list(accumulate(len(maps) for maps in self.maps))

    def __len__(self) -> int:
        return self.ends[-1]

    def batch(self, indices: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Features (B, 64, 80, 80) and maps (B, 1, 80, 80), 0 to 255."""
        parts = np.searchsorted(self.ends, indices, side="right")
        places = [(part, index - self.ends[part]) for part, index in zip(parts, indices, strict=True)]
        features = np.stack([self.features[part][place] for part, place in places])
        maps = np.stack([self.maps[part][place] for part, place in places])
        return torch.from_numpy(features).float(), torch.from_numpy(maps).float()[:, None]


def student(config: TrainConfig) -> tuple[U2Net, Transform]:
    """The network with the weights of `init`, ready for training, and its Transform."""
    network, transform = new_network(config)
    lower_levels(network)
    leave_out_norms(network)
    freeze(network, config.freeze)
    return network, transform


def train(arguments: argparse.Namespace) -> None:
    """`train`."""
    config = replace(
        CONFIG, init=arguments.init, lr=arguments.lr, schedule="cosine" if arguments.cosine else "constant",
        iou=arguments.iou, ema=arguments.ema, seed=arguments.seed,
    )  # fmt: skip
    network, transform = student(config)
    card = replace(load_checkpoint(resolve("u2netp"), U2NETP).card, transform=replace(transform, upsample="bicubic"))
    layout = find_layout(torch.device("cpu"))
    network.to(memory_format=layout)  # type: ignore[call-overload]
    deep, loss_of, optimizer = Deep(network), Loss(config), new_optimizer(network, config)
    before = copy.deepcopy(deep) if arguments.keep else None
    average = Average(network, config.ema)
    views, kept = Views(arguments.features), Views([arguments.kept_back])
    draw, order = np.random.default_rng(config.seed), np.empty(0, np.intp)
    report(0, average.network, kept)
    for step in range(arguments.steps):
        if len(order) < arguments.batch:
            order = draw.permutation(len(views))
        features, maps = views.batch(np.sort(order[: arguments.batch]))
        order = order[arguments.batch :]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, arguments.steps)
        features = features.contiguous(memory_format=layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
            logits, last = deep(features)
        third, *deeper = (each.float() for each in logits)
        loss = loss_of((third,) * 4 + tuple(deeper), maps).total
        if before:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
                last_before = before(features)[1]
            loss = loss + arguments.keep * (last.float() - last_before.float()).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        optimizer.step()
        average.update(step)
        if (step + 1) % arguments.every == 0 or step + 1 == arguments.steps:
            report(step + 1, average.network, kept)
            save_checkpoint(average.network, arguments.out, card)


@torch.inference_mode()
def report(step: int, network: U2Net, kept: Views) -> None:
    """Print how far a network is from the teacher, on every second view that was kept back."""
    deep, measure, found = Deep(network), Loss(MEASURE), []
    for indices in np.array_split(np.arange(0, len(kept), 2), max(1, len(kept) // 32)):
        features, levels = kept.batch(indices)
        maps, logits = levels / 255, deep(features)[0][0]
        guess = logits.sigmoid()
        own, theirs = guess > 0.5, maps > 0.5
        union = (own | theirs).sum((1, 2, 3)).clamp(min=1)
        values = measure((logits,) * 7, levels)
        entropy = nn.functional.binary_cross_entropy(maps, maps)
        overlap = ((own & theirs).sum((1, 2, 3)) / union).mean()
        means = (values.fused - entropy, (guess - maps).abs().mean(), 1 - values.total, overlap)
        found.append(torch.stack(means) * len(indices))
    total = torch.stack(found).sum(0) / len(range(0, len(kept), 2))
    print(step, *(f"{mean:.4f}" for mean in total), flush=True)


def main() -> None:
    """Write maps or features, or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("maps")
    verb.set_defaults(do=write_maps)
    verb.add_argument("photos", type=Path)
    verb.add_argument("maps", type=Path)
    verb.add_argument("--teacher", default="u2net")
    verb.add_argument("--looks", type=int, default=1)
    add_names(verb, "all")
    verb = verbs.add_parser("features")
    verb.set_defaults(do=write_features)
    for name in ("photos", "maps", "features"):
        verb.add_argument(name, type=Path)
    verb.add_argument("--view", choices=VIEWS, default="plain")
    verb.add_argument("--bf16", action="store_true", help="compute in bfloat16, for processors that multiply it")
    add_names(verb, "all that have a map")
    verb = verbs.add_parser("train")
    verb.set_defaults(do=train)
    verb.add_argument("out", type=Path)
    verb.add_argument("features", type=Path, nargs="+")
    verb.add_argument("--kept-back", type=Path, required=True)
    verb.add_argument("--init", default="u2netp")
    verb.add_argument("--lr", type=float, default=1e-4)
    verb.add_argument("--batch", type=int, default=16)
    verb.add_argument("--steps", type=int, default=640)
    verb.add_argument("--cosine", action="store_true", help="let the rate fall to nothing along a cosine")
    verb.add_argument("--iou", type=float, default=0.0)
    verb.add_argument("--keep", type=float, default=0.0, help="weight of what changes for the stages that do not learn")
    verb.add_argument("--bf16", action="store_true", help="compute in bfloat16, for processors that multiply it")
    verb.add_argument("--ema", type=float, default=0.99)
    verb.add_argument("--every", type=int, default=50)
    verb.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with kept_heaps():
        arguments.do(arguments)


def add_names(verb: argparse.ArgumentParser, otherwise: str) -> None:
    """Which photographs."""
    verb.add_argument("--names", type=Path, help=f"a file of names without suffix; {otherwise} by default")


if __name__ == "__main__":
    main()
