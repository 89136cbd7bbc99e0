"""Make packaged weights: `make weights SOURCE=path/to/u2netp.onnx`.

    python tools/make_weights.py SOURCE [PICTURES] [--name u2netp]

The source is read into our network, which is exported again with the card that the table of models has: of the official
ONNX file the same numbers in a third of the nodes, for any size and batch; of `u2netp_distilled` what
tools/average_weights.py wrote, in 16 bits. With a folder or archive of pictures the same network is written in integers
too, calibrated on 32 of them; the packaged ones saw pictures of DUTS-TR. If SOURCE is the packaged file itself, only
its integers are made again.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import onnx

from u2net.evaluation.dataset import list_sources, spread
from u2net.models.card import METADATA_KEY
from u2net.models.onnx_file import OnnxFile
from u2net.models.table import MODELS
from u2net.models.zoo import WEIGHTS, integers_beside, recognise
from u2net.net import export_onnx, load_checkpoint
from u2net.net.quantise import NUM_PICTURES, export_int8


def main() -> None:
    """Check the source, import, export, note the file's sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("pictures", nargs="?", type=Path, metavar="PICTURES")
    packaged = [name for name, model in MODELS.items() if model.url is None]
    parser.add_argument("--name", choices=packaged, default=packaged[0])
    arguments = parser.parse_args()
    model = MODELS[arguments.name]
    if arguments.name == "u2netp" and recognise(arguments.source) is not model:
        sys.exit(f"{arguments.source} is not the official u2netp.onnx: its checksum is another")
    network, target = load_checkpoint(arguments.source).network, WEIGHTS / model.file
    is_packaged = target.exists() and arguments.source.samefile(target)
    if not is_packaged:
        export_onnx(network, target, model.card, half=arguments.name != "u2netp")
        note(target)
    if arguments.pictures:
        chosen = spread(list_sources(arguments.pictures), NUM_PICTURES)
        difference, num_float = export_int8(
            network, integers_beside(target), model.card, (picture.read() for picture in chosen)
        )
        print(f"integers differ by {difference:.4f}; {num_float} convolutions in float32")
        if is_packaged:
            use_card(integers_beside(target), target)
        note(integers_beside(target))


def use_card(path: Path, source: Path) -> None:
    """Give a file the card of another: the digest on it is of weights before they were rounded to 16 bits."""
    model, card = onnx.load(path), OnnxFile.read(source).card()
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, kept | {METADATA_KEY: card.to_json()})
    path.write_bytes(model.SerializeToString(deterministic=True))


def note(path: Path) -> None:
    """Write a file's sum beside it."""
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{checksum}  {path.name}\n")
    print(f"{path}: {path.stat().st_size:,} bytes, sha256 {checksum}")


if __name__ == "__main__":
    main()
