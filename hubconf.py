"""What torch.hub offers of this repository: `torch.hub.load(PLACE, "u2netp")`.

Each gives a network in evaluation mode; with `pretrained` its `card` says how to feed it. The package need not be
installed: it is taken from `src/` beside this file, and what it needs is listed in `dependencies`.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from u2net.net import U2Net

dependencies = ["torch", "onnx", "onnxruntime", "safetensors", "numpy", "PIL", "filelock", "pooch", "requests"]

if find_spec("u2net") is None:
    sys.path.append(str(Path(__file__).resolve().parent / "src"))


def u2net(pretrained: bool = True, progress: bool = True) -> "U2Net":
    """The authors' full network, 44 million parameters; its weights are downloaded once, 176 MB."""
    return _network("u2net", pretrained, progress)


def u2netp(pretrained: bool = True, progress: bool = True) -> "U2Net":
    """The authors' small network, 1.1 million parameters; its weights are part of the package."""
    return _network("u2netp", pretrained, progress)


def _network(name: str, pretrained: bool, progress: bool) -> "U2Net":
    from u2net.models.table import MODELS
    from u2net.models.zoo import resolve
    from u2net.net import U2Net, load_checkpoint
    from u2net.net.checkpoint import describe
    from u2net.net.model import VARIANTS

    if not pretrained:
        return U2Net(VARIANTS[name]).eval()
    network = load_checkpoint(resolve(name, progress=progress)).network
    network.card = describe(network, MODELS[name].card)
    return network
