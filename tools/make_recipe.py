"""Make a recipe of integers: `python tools/make_recipe.py u2net u2net.onnx PICTURES`.

From the published file of a network that is too large to be packaged, and a folder or archive of pictures, the network
is written in integers, calibrated on 32 of them. What is kept is the file without its large weights, which
`u2net.models.integers` makes again from the published file, in a second and without torch. Takes some minutes.
"""

import argparse
import hashlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from u2net.evaluation.dataset import list_sources, spread
from u2net.models.integers import apply_recipe
from u2net.models.table import MODELS
from u2net.models.zoo import WEIGHTS, recognise
from u2net.net import load_checkpoint
from u2net.net.export import to_onnx
from u2net.net.quantise import NUM_PICTURES, export_int8

SMALL = 1024  # bytes of a weight that stays in the recipe


def main() -> None:
    """Check the source, calibrate, cut the weights out, and make them again for proof."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[name for name, model in MODELS.items() if model.url])
    parser.add_argument("source", type=Path)
    parser.add_argument("pictures", type=Path)
    arguments = parser.parse_args()
    model = recognise(arguments.source)
    if model is None or model.name != arguments.name:
        sys.exit(f"{arguments.source} is not the published file of {arguments.name}")
    network, found = load_checkpoint(arguments.source)
    card = replace(model.card, sha256=found.sha256, num_parameters=found.num_parameters)
    chosen = spread(list_sources(arguments.pictures), NUM_PICTURES)
    with tempfile.TemporaryDirectory() as folder:
        integers = Path(folder, "integers.onnx")
        difference, num_float = export_int8(network, integers, card, (source.read() for source in chosen))
        print(f"integers differ by {difference:.4f}; {num_float} convolutions in float32")
        print(f"the card: sha256 {card.sha256}, {card.num_parameters:,} parameters")
        parts = cut(integers.read_bytes(), to_onnx(network, card), arguments.source.read_bytes())
    path = WEIGHTS / f"{arguments.name}-int8.npz"
    np.savez_compressed(path, **parts)
    assert hashlib.sha256(apply_recipe(parts, arguments.source)).hexdigest() == str(parts["sha256"])
    print(f"{path}: {path.stat().st_size:,} bytes, for a file of sha256 {parts['sha256']}")


def cut(content: bytes, exported: onnx.ModelProto, published: bytes) -> dict[str, np.ndarray]:
    """The arrays of a recipe, for the content of a file of integers; see `u2net.models.integers.apply_recipe`."""
    tensors = {tensor.name: tensor for tensor in onnx.ModelProto.FromString(content).graph.initializer}
    original = {tensor.name: numpy_helper.to_array(tensor) for tensor in exported.graph.initializer}
    weights = []
    for name, tensor in tensors.items():
        key = name.removesuffix(".integer")
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4 and len(tensor.raw_data) > SMALL:
            offset = published.find(original[key].tobytes())
            if offset >= 0:
                scale = numpy_helper.to_array(tensors[f"{key}.scale"])
                weights.append((content.index(tensor.raw_data), len(tensor.raw_data), offset, tensor.dims, scale))
    weights.sort(key=lambda weight: weight[0])
    skeleton, places, taken = b"", [], 0
    for start, length, *_ in weights:
        skeleton += content[taken:start]
        places.append(len(skeleton))
        taken = start + length
    return {
        "skeleton": np.frombuffer(skeleton + content[taken:], np.uint8),
        "places": np.array(places, np.int64),
        "sources": np.array([weight[2] for weight in weights], np.int64),
        "shapes": np.array([tuple(weight[3]) for weight in weights], np.int64),
        "scales": np.concatenate([weight[4] for weight in weights]).astype(np.float32),
        "sha256": np.array(hashlib.sha256(content).hexdigest()),
    }


if __name__ == "__main__":
    main()
