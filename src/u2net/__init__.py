"""U²-Net for Python: cut subjects out of pictures, fast and offline.

Names are loaded when first used: `import u2net` itself loads neither numpy nor a runtime.
"""

import os

# ONNX Runtime reads it when it is imported: unless it is set, it sends usage data to its maker (1.29 and later).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

TYPE_CHECKING = False  # the module `typing` would take longer to load than everything else here

if TYPE_CHECKING:
    from u2net.cutout.remove import remove
    from u2net.evaluation.evaluate import evaluate
    from u2net.inference.open import new_session
    from u2net.inference.session import Session
    from u2net.models.table import MODELS
    from u2net.models.transform import Transform

__version__ = "0.1.0"

__all__ = ["MODELS", "Session", "Transform", "__version__", "evaluate", "new_session", "remove"]

_HOME = {
    "MODELS": "u2net.models.table",
    "Session": "u2net.inference.session",
    "Transform": "u2net.models.transform",
    "evaluate": "u2net.evaluation.evaluate",
    "new_session": "u2net.inference.open",
    "remove": "u2net.cutout.remove",
}


_OF_REMBG = ("bg", "session_factory")  # its modules, which are there without being imported


def __getattr__(name: str) -> object:
    if name not in (*_HOME, *_OF_REMBG):
        raise AttributeError(f"module 'u2net' has no attribute {name!r}")
    from importlib import import_module

    if name in _OF_REMBG:
        return import_module(f"u2net.{name}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
