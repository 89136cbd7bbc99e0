"""Make the packaged weights from the authors' published file: `make weights SOURCE=path/to/u2netp.onnx`.

The official ONNX file is read into our network, which is exported again: the same numbers in a third of the nodes,
for any size and batch, with its card inside.
"""

import hashlib
import sys
from pathlib import Path

from u2net.net import export_onnx, load_checkpoint
from u2net.zoo import MODELS

OFFICIAL_MD5 = "8e83ca70e441ab06c318d82300c84806"  # as rembg checks it
TARGET = Path("src/u2net/weights/u2netp.onnx")


def main() -> None:
    """Check the source, import, export, note the file's sum."""
    source = Path(sys.argv[1])
    if hashlib.md5(source.read_bytes(), usedforsecurity=False).hexdigest() != OFFICIAL_MD5:
        sys.exit(f"{source} is not the official u2netp.onnx: its MD5 is not {OFFICIAL_MD5}")
    export_onnx(load_checkpoint(source).network, TARGET, MODELS["u2netp"].card)
    checksum = hashlib.sha256(TARGET.read_bytes()).hexdigest()
    TARGET.with_name("u2netp.onnx.sha256").write_text(f"{checksum}  {TARGET.name}\n")
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes, sha256 {checksum}")


if __name__ == "__main__":
    main()
