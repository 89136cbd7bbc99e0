"""Data in pieces that are small enough to be sent, each a data set by itself.

    python tools/data_pieces.py PHOTOS OUT [--maps MAPS] [--teacher WEIGHTS] [--piece-mib 60] [--num N]

Writes pictures at 320, and maps if there are any, as pictures-000.tar …, and the teacher in 16 bits as teacher.part0 …;
no file is larger than a piece, and SHA256SUMS has a digest of each. `tools/train_on_gpu.py` takes them.
"""

import argparse
import hashlib
import io
import itertools
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

SIDE = 320
MIB = 1 << 20


def pack(arguments: argparse.Namespace) -> None:
    """Write pieces and their digests."""
    out: Path = arguments.out
    out.mkdir(parents=True)
    photos = sorted(path for path in arguments.photos.iterdir() if path.suffix.lower() in Image.registered_extensions())
    maps = {path.stem: path for path in arguments.maps.iterdir()} if arguments.maps else {}
    limit, num = int(arguments.piece_mib * MIB), 0
    for number, part in enumerate(in_pieces(encoded(photos[: arguments.num], maps), limit)):
        num += sum(name.startswith("images/") for name, _ in part)
        write_tar(out / f"pictures-{number:03d}.tar", part)
    if arguments.teacher:
        from u2net.models.zoo import resolve
        from u2net.net import export_onnx, load_checkpoint

        checkpoint = load_checkpoint(resolve(arguments.teacher))
        file = out / "teacher.onnx"
        export_onnx(checkpoint.network, file, checkpoint.card, half=True)
        split(file, out, "teacher", limit)
        file.unlink()
    files = sorted(out.iterdir())
    (out / "SHA256SUMS").write_text("".join(f"{digest(file)}  {file.name}\n" for file in files))
    print(f"{num} pictures in {len(files)} files, the largest of {max(f.stat().st_size for f in files) / MIB:.1f} MiB")


def encoded(photos: list[Path], maps: dict[str, Path]) -> Iterator[list[tuple[str, bytes]]]:
    """Names and contents of each picture at 320 and its map. With maps, pictures without one are left out."""
    for photo in photos:
        if maps and photo.stem not in maps:
            continue
        with Image.open(photo) as image:
            files = [(f"images/{photo.stem}.webp", to_bytes(image.convert("RGB"), "WEBP", quality=90, method=4))]
        if maps:
            with Image.open(maps[photo.stem]) as image:
                files.append((f"masks/{photo.stem}.png", to_bytes(image.convert("L"), "PNG")))
        yield files


def to_bytes(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file of this picture at 320."""
    file = io.BytesIO()
    image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0).save(file, kind, **options)
    return file.getvalue()


def in_pieces(pairs: Iterator[list[tuple[str, bytes]]], limit: int) -> Iterator[list[tuple[str, bytes]]]:
    """Files together, as many as a tar of the limit holds; a pair is never parted."""
    piece: list[tuple[str, bytes]] = []
    size = 10240  # the end of a tar
    for files in pairs:
        added = sum(1024 + len(content) for _, content in files)  # at most, with header and padding
        if piece and size + added > limit:
            yield piece
            piece, size = [], 10240
        piece += files
        size += added
    if piece:
        yield piece


def write_tar(path: Path, files: list[tuple[str, bytes]]) -> None:
    """A tar, whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    with tarfile.open(unfinished, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    unfinished.replace(path)


def read_tar(path: Path) -> list[tuple[str, bytes]]:
    """Names and contents of its files."""
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar if member.isfile()]  # type: ignore[union-attr]


def split(file: Path, folder: Path, name: str, limit: int) -> None:
    """A file in parts: NAME.part0, NAME.part1 and so on."""
    content = file.read_bytes()
    for number, start in enumerate(range(0, len(content), limit)):
        (folder / f"{name}.part{number}").write_bytes(content[start : start + limit])


def join(folder: Path, name: str, file: Path) -> Path | None:
    """The file whose parts these are; None if there are none."""
    found = (folder / f"{name}.part{number}" for number in itertools.count())
    parts = list(itertools.takewhile(Path.exists, found))
    file.write_bytes(b"".join(part.read_bytes() for part in parts))
    return file if parts else None


def digest(file: Path) -> str:
    """SHA-256, in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def checked(folder: Path) -> list[Path]:
    """The pieces that have come. Ends with their names if some are not as they were packed."""
    sums = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = sorted(file for file in folder.iterdir() if file.name in sums)
    damaged = [file.name for file in files if digest(file) != sums[file.name]]
    if damaged:
        raise SystemExit(f"damaged: {', '.join(damaged)}")
    print(f"{len(files)} of {len(sums)} files are here, and sound")
    return [file for file in files if file.suffix == ".tar"]


def main() -> None:
    """Pack what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--maps", type=Path, help="folder of maps: pictures without one are left out")
    parser.add_argument("--teacher", help="a name or a file of weights that makes the maps over there")
    parser.add_argument("--piece-mib", type=float, default=60)
    parser.add_argument("--num", type=int, help="take so many pictures")
    pack(parser.parse_args())


if __name__ == "__main__":
    main()
