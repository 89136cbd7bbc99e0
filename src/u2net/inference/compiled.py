"""What OpenVINO compiled, kept in files that prove themselves.

OpenVINO's own cache uses a damaged file without a word, and makes other maps with it. Here a file begins with the
SHA-256 of its name and of what follows, and is used only if that is right. It gets its name when it is whole, so
several processes may share a folder.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from u2net.system.files import atomic_write, sha256_of

if TYPE_CHECKING:
    import openvino

_DIGEST = 32  # bytes


def place(folder: Path, core: openvino.Core, model: Path, size: tuple[int, int], properties: dict[str, Any]) -> Path:
    """The file for a network of one size: its name is a digest of all that the compiled network depends on.

    Raises OSError for a model that cannot be read.
    """
    version = core.get_versions("CPU")["CPU"].build_number
    processor = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    facts = (sha256_of(model), size, sorted(properties.items()), version, processor)
    return folder / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}.compiled"


def load(file: Path, core: openvino.Core, properties: dict[str, Any]) -> openvino.CompiledModel | None:
    """The network in a file; None if there is none, or if it is damaged."""
    with suppress(OSError, RuntimeError):
        content = memoryview(file.read_bytes())
        if _digest(file, content[_DIGEST:]) == content[:_DIGEST]:
            return core.import_model(io.BytesIO(content[_DIGEST:]), "CPU", properties)
    return None


def keep(file: Path, compiled: openvino.CompiledModel) -> None:
    """Write a network to a file, or do nothing where that is impossible."""
    with suppress(OSError, RuntimeError):
        file.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        compiled.export_model(content)
        with atomic_write(file) as output:
            output.write(_digest(file, content.getbuffer()))
            output.write(content.getbuffer())


def _digest(file: Path, content: memoryview) -> bytes:
    """Of the name too: the network of another model would be as sound."""
    digest = hashlib.sha256(file.name.encode())
    digest.update(content)
    return digest.digest()
