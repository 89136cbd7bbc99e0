"""What nesting buys: both variants of U²-Net beside U-Nets that have the same stages made of plain convolutions.

A plain U-Net here is U²-Net with each RSU replaced by a chain of 3×3 convolutions, batch normalisation and ReLU, all
at the stage's size and its `c_out` channels. Sizes, widths, skips, side outputs and fusion stay, so the rows differ
in nothing but the blocks. "As deep" takes as many convolutions per stage as the RSU has, 2 × height, which all lie on
one path; 4 per stage come nearest to U²-Net's number of parameters; 2 per stage is the first U-Net's way.

    python benchmarks/network.py [--size W H] [--quick] [--json FILE]

prints a Markdown table; with --json it is written to FILE, and as Markdown beside it.
"""

import copy
import tempfile
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from bench import named, new_parser, publish, table, versions
from torch import Tensor, nn

from u2net.inference.profile import measure
from u2net.models.card import Card
from u2net.net import U2NET, U2NETP, Stage, U2Net
from u2net.net.export import to_onnx
from u2net.net.model import ConvBlock

VARIANTS = {"U²-Net": U2NET, "U²-Net†": U2NETP}
COLUMNS = {
    "network": "",
    "depth": "convolutions in a row",
    "first_stage_sees": "first stage sees, pixels",
    "network_sees": "network sees, pixels",
    "num_parameters": "parameters",
    "gmacs": "GMAC",
    "maps_mib": "all maps, MiB",
    "kept_mib": "kept to train, MiB",
}


def plain(stages: tuple[Stage, ...], num_convolutions: int | None = None) -> U2Net:
    """The plain U-Net with this table's stages; `num_convolutions` per stage, by default those of each RSU."""
    network = U2Net(stages)
    for blocks, rows in ((network.encoder, stages[:6]), (network.decoder, stages[:5:-1])):
        for index, row in enumerate(rows):
            widths = [row.c_in] + [row.c_out] * (num_convolutions or 2 * row.height)
            blocks[index] = nn.Sequential(*map(ConvBlock, widths, widths[1:]))
    return network


def depth(model: onnx.ModelProto) -> int:
    """Convolutions on the longest path from the picture to the map."""
    longest: dict[str, int] = {}
    for node in model.graph.node:  # which ONNX keeps in an order that can be run
        before = max((longest.get(name, 0) for name in node.input), default=0)
        longest[node.output[0]] = before + (node.op_type == "Conv")
    return longest[model.graph.output[0].name]


@torch.no_grad()
def sees(network: Callable[[Tensor], Tensor], width: int = 8192) -> int:
    """Receptive field: how many columns of the picture the middle value of the map depends on, from first to last.

    NaN passes through every layer, so a value depends on a column if NaN there makes it NaN.
    """
    middle = width // 2

    def depends(first: int, last: int) -> bool:
        picture = torch.zeros(1, 3, 1, width)
        picture[..., first:last] = torch.nan
        return bool(network(picture)[..., middle].isnan().any())

    left = bisect_left(range(1, middle), True, key=lambda last: depends(0, last))
    right = bisect_left(range(middle, width), True, key=lambda first: not depends(first, width)) + middle
    assert 0 < left < right < width - 1, "the view does not fit into the width"
    return right - left


def bytes_kept(network: U2Net, size: tuple[int, int]) -> int:
    """Memory that one float32 picture's forward pass leaves filled for the backward pass, beside the parameters."""
    network = copy.deepcopy(network).to("meta").train()  # shapes without values
    picture = torch.empty(1, 3, *reversed(size), device="meta")
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(picture)
    for tensor in (*network.parameters(), *network.buffers()):
        kept.pop(tensor.untyped_storage()._cdata, None)
    return sum(storage.nbytes() for storage in kept.values())


def row(name: str, network: U2Net, size: tuple[int, int]) -> dict[str, str | int | float]:
    """One row of the table: figures by the names of `COLUMNS`."""
    network.eval()
    model = to_onnx(network, Card(name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        onnx.save(model, path)
        cost = measure(path, size)
    return {
        "network": name,
        "depth": depth(model),
        "first_stage_sees": sees(network.encoder[0]),
        "network_sees": sees(network.saliency),
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gmacs": round(cost.num_macs / 1e9, 2),
        "maps_mib": round(cost.num_activations * 4 / 2**20),
        "kept_mib": round(bytes_kept(network, size) / 2**20),
    }


def to_markdown(rows: list[dict[str, str | int | float]]) -> str:
    """The rows as a table."""
    cells = []
    for figures in rows:
        name, *numbers = (figures[column] for column in COLUMNS)
        cells.append([name, *(f"{number:,}" if isinstance(number, int) else f"{number:.2f}" for number in numbers)])
    return table(list(COLUMNS.values()), cells)


def main() -> None:
    """Measure every row, print the table, write it if asked."""
    parser = new_parser(__doc__, "U²-Net† and its plain U-Nets alone")
    parser.add_argument("--size", nargs=2, type=int, default=(320, 320), metavar=("W", "H"), help="default: 320 320")
    arguments = parser.parse_args()
    width, height = arguments.size

    rows = []
    for name, stages in VARIANTS.items():
        if arguments.quick and stages is not U2NETP:
            continue
        rows.append(row(name, U2Net(stages), (width, height)))
        for kind, num_convolutions in (("as deep", None), ("4 per stage", 4), ("2 per stage", 2)):
            rows.append(row(f"plain, {name}'s stages, {kind}", plain(stages, num_convolutions), (width, height)))
    packages = versions("u2net", "torch", "onnx", "onnxruntime")
    publish(arguments, {"versions": packages, "rows": rows}, to_markdown(rows), named(packages))


if __name__ == "__main__":
    main()
