"""Average the weights of several models of the same network into one, and sharpen its maps.

    python tools/average_weights.py OUT.onnx NAME|FILE=SHARE… [--sharpen 1.5] [--upsample bicubic] [--name NAME]

Models are ONNX files, whose norms lie in their convolutions, so that weights of runs that began with the same ones can
be averaged one by one; shares are scaled to a sum of 1. Models by name are taken as training begins with them. The card
is the last model's with its source told. `--sharpen` multiplies the logits of the fused map: maps become blacker and
whiter about a half that stays where it is. `--upsample` says how maps are brought to the picture's size.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from u2net.models.table import MODELS
from u2net.models.transform import Resample
from u2net.models.zoo import resolve
from u2net.net import export_onnx, load_checkpoint
from u2net.training.norms import has_folded_norms, lower_levels


def main() -> None:
    """Average, sharpen, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.onnx")
    parser.add_argument("models", nargs="+", type=part, metavar="NAME|FILE=SHARE")
    parser.add_argument("--sharpen", type=float, default=1.0, metavar="FACTOR")
    parser.add_argument("--upsample", choices=get_args(Resample), default="bilinear")
    parser.add_argument("--name", help="what the card calls it; the file's name by default")
    arguments = parser.parse_args()
    parts: list[tuple[str, float]] = arguments.models
    checkpoints = [load_checkpoint(resolve(model)) for model, _ in parts]
    if not all(has_folded_norms(checkpoint.network) for checkpoint in checkpoints):
        parser.error("norms that are not folded cannot be averaged: take the run's model.onnx")
    for checkpoint, (model, _) in zip(checkpoints, parts, strict=True):
        if model in MODELS:
            lower_levels(checkpoint.network)
    network, card = checkpoints[-1]
    states = [checkpoint.network.state_dict() for checkpoint in checkpoints]
    if any(shapes(state) != shapes(states[-1]) for state in states):
        parser.error("weights of different networks cannot be averaged")
    total = sum(share for _, share in parts)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                terms = zip(states, parts, strict=True)
                value.copy_(sum(state[key].double() * share / total for state, (_, share) in terms))
        for parameter in network.fuse.parameters():
            parameter *= arguments.sharpen
    source = "Average of " + ", ".join(f"{share / total:.2f} {Path(model).name}" for model, share in parts)
    if arguments.sharpen != 1:
        source += f"; fused logits times {arguments.sharpen:g}"
    card = replace(
        card,
        name=arguments.name or arguments.out.stem,
        transform=replace(card.transform, upsample=arguments.upsample),
        source=source,
        scores={},
        sharpness=card.sharpness * arguments.sharpen,
    )
    export_onnx(network, arguments.out, card)


def shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    """What the weights of a network are called, and their shapes."""
    return {key: value.shape for key, value in state.items()}


def part(text: str) -> tuple[str, float]:
    """A model and its share. Raises ValueError for a share that is none."""
    model, share = text.rsplit("=", 1)
    if not float(share) > 0:
        raise ValueError(share)
    return model, float(share)


if __name__ == "__main__":
    main()
