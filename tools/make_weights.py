"""Make the packaged weights from the authors' published file: `make weights SOURCE=path/to/u2netp.onnx`.

The official ONNX file is read into our network, which is exported again: the same numbers in a third of the nodes,
for any size and batch, with its card inside. With a folder or archive of pictures as a second argument the same network
is written in integers too, calibrated on 32 of them; the packaged ones saw pictures of DUTS-TR.
"""

import hashlib
import sys
from pathlib import Path

from u2net.dataset import list_sources
from u2net.net import export_onnx, load_checkpoint
from u2net.net.quantise import export_int8
from u2net.runtime import integers_beside
from u2net.zoo import MODELS

OFFICIAL_MD5 = "8e83ca70e441ab06c318d82300c84806"  # as rembg checks it
TARGET = Path("src/u2net/weights/u2netp.onnx")


def main() -> None:
    """Check the source, import, export, note the file's sum."""
    source = Path(sys.argv[1])
    if hashlib.md5(source.read_bytes(), usedforsecurity=False).hexdigest() != OFFICIAL_MD5:
        sys.exit(f"{source} is not the official u2netp.onnx: its MD5 is not {OFFICIAL_MD5}")
    network, card = load_checkpoint(source).network, MODELS["u2netp"].card
    export_onnx(network, TARGET, card)
    note(TARGET)
    if len(sys.argv) > 2:
        pictures = list_sources(Path(sys.argv[2]))
        chosen = pictures[:: max(1, len(pictures) // 32)][:32]
        difference, num_float = export_int8(
            network, integers_beside(TARGET), card, (picture.read() for picture in chosen)
        )
        print(f"integers differ by {difference:.4f}; {num_float} convolutions in float32")
        note(integers_beside(TARGET))


def note(path: Path) -> None:
    """Write a file's sum beside it."""
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{checksum}  {path.name}\n")
    print(f"{path}: {path.stat().st_size:,} bytes, sha256 {checksum}")


if __name__ == "__main__":
    main()
