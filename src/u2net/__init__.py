"""U²-Net for Python: cut subjects out of pictures, fast and offline.

Names are loaded when first used: `import u2net` itself loads neither numpy nor a runtime.
"""

TYPE_CHECKING = False  # the module `typing` would take longer to load than everything else here

if TYPE_CHECKING:
    from u2net.background import new_session, remove
    from u2net.evaluation import evaluate
    from u2net.session import Session
    from u2net.transform import Transform
    from u2net.zoo import MODELS

__version__ = "0.1.0"

__all__ = ["MODELS", "Session", "Transform", "__version__", "evaluate", "new_session", "remove"]

_HOME = {
    "MODELS": "u2net.zoo",
    "Session": "u2net.session",
    "Transform": "u2net.transform",
    "evaluate": "u2net.evaluation",
    "new_session": "u2net.background",
    "remove": "u2net.background",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'u2net' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
