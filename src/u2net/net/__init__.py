"""The network in torch: its definition, its weights on disk, its export. Needs the extra `torch`."""

from u2net.errors import MissingExtra

try:
    import onnx  # noqa: F401
    import safetensors  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise MissingExtra("u2net.net needs more packages: pip install 'u2net[torch]'") from error

from u2net.net.checkpoint import Checkpoint
from u2net.net.export import export_onnx
from u2net.net.model import RSU, U2NET, U2NETP, Stage, U2Net
from u2net.net.weight_files import load_checkpoint, save_checkpoint

__all__ = [
    "RSU",
    "U2NET",
    "U2NETP",
    "Checkpoint",
    "Stage",
    "U2Net",
    "export_onnx",
    "load_checkpoint",
    "save_checkpoint",
]
