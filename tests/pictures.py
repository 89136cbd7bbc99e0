"""Pictures, colour profiles and files made by hand, and where the demo photograph is."""

import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

ROOT = Path(__file__).parents[1]
PHOTOGRAPH = ROOT / "docs/images/coffee.jpg"


def read_image(path: Path | str) -> Image.Image:
    """A picture with its file closed."""
    with Image.open(path) as image:
        image.load()
    return image


# ---- Pictures and files made by hand -------------------------------------------------------------------------


def photo(width: int = 48, height: int = 32) -> Image.Image:
    """Smooth in three different directions, so that no turn, swap of channels or blur goes unseen."""
    y, x = np.mgrid[0:height, 0:width] / [[[max(height - 1, 1)]], [[max(width - 1, 1)]]]
    return Image.fromarray(np.rint(255 * np.stack([x, y, (x + y) / 2], axis=-1)).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reopened(content: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(content))


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG file from packed rows, each behind its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(tags: dict[int, int | list[int]], content: bytes) -> bytes:
    """A little-endian TIFF file of one strip or tile; the offset 0 in `tags` stands for where the content lies."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries, lists = b"", b""
    for tag, value in sorted(tags.items()):
        if isinstance(value, list):
            entries += struct.pack("<HHII", tag, 3, len(value), start + len(content) + len(lists))
            lists += struct.pack(f"<{len(value)}H", *value)
        else:
            place = tag in (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS)
            entries += struct.pack("<HHII", tag, 4, 1, start if place else value)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + content + lists


def exif(orientation: object = None, **private: object) -> bytes:
    tags = Image.Exif()
    if orientation is not None:
        tags[0x0112] = orientation
    if private:
        tags[0x010E] = private["description"]
        tags.get_ifd(0x8825)[2] = private["latitude"]
    return tags.tobytes()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.float64)


def distance(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference in grey levels."""
    assert (one.mode, one.size) == (other.mode, other.size)
    return float(np.abs(pixels(one) - pixels(other)).mean())


# ---- Colour, from the standards' figures alone ---------------------------------------------------------------

D50 = np.array([0.9642, 1.0, 0.8249])
D65 = np.array([0.3127 / 0.3290, 1.0, (1 - 0.3127 - 0.3290) / 0.3290])
SRGB = [(0.640, 0.330), (0.300, 0.600), (0.150, 0.060)]
DISPLAY_P3 = [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)]
PROPHOTO = [(0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)]
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_d50(white: np.ndarray) -> np.ndarray:
    return np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ white)) @ BRADFORD


def rgb_to_xyz(primaries: list[tuple[float, float]], white: np.ndarray) -> np.ndarray:
    """The matrix from linear RGB to XYZ under D50."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    return to_d50(white) @ (columns * np.linalg.solve(columns, white))


def srgb_decoded(encoded: np.ndarray) -> np.ndarray:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def xyz_to_srgb(xyz: np.ndarray) -> np.ndarray:
    return srgb_encoded(xyz @ np.linalg.inv(rgb_to_xyz(SRGB, D65)).T)


def lab(srgb: np.ndarray) -> np.ndarray:
    ratio = srgb_decoded(srgb) @ rgb_to_xyz(SRGB, D65).T / D50
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def lab_to_xyz(values: np.ndarray) -> np.ndarray:
    middle = (values[..., 0] + 16) / 116
    f = np.stack([middle + values[..., 1] / 500, middle, middle - values[..., 2] / 200], axis=-1)
    return np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D50


def delta_e(seen: np.ndarray, srgb: np.ndarray) -> float:
    """The largest CIE 1976 distance from 8-bit colours to those of `srgb`, in [0, 1]."""
    return float(np.linalg.norm(lab(seen / 255) - lab(srgb), axis=-1).max())


def icc(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2.4 (ICC.1:2001-04)."""
    start, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", tag, start + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"test", 0x02400000, kind, space, connection)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + fixed(D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def fixed(values: np.ndarray) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


def xyz_tag(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + fixed(values)


def curve_tag(decode) -> bytes:
    table = np.rint(65535 * decode(np.linspace(0, 1, 4096))).astype(int)
    return struct.pack(">4s4xI4096H", b"curv", 4096, *table)


def rgb_profile(primaries=SRGB, white=D65, decode=srgb_decoded) -> bytes:
    matrix = rgb_to_xyz(primaries, white)
    tags = {b"wtpt": xyz_tag(D50)}
    tags |= {b"rgb"[i : i + 1] + b"XYZ": xyz_tag(matrix[:, i]) for i in range(3)}
    tags |= {b"rgb"[i : i + 1] + b"TRC": curve_tag(decode) for i in range(3)}
    return icc(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(decode) -> bytes:
    return icc(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": xyz_tag(D50), b"kTRC": curve_tag(decode)})


def ink_lab(cmyk: np.ndarray) -> np.ndarray:
    """Lab of ink: no press prints so, which shows that the profile was used."""
    c, m, y, k = np.moveaxis(cmyk, -1, 0)
    light = 100 * (1 - k) * (1 - 0.3 * c) * (1 - 0.3 * m) * (1 - 0.1 * y)
    return np.stack([light, (1 - k) * (40 * m - 30 * c), (1 - k) * (40 * y - 20 * c)], axis=-1)


def cmyk_profile() -> bytes:
    corners = np.array(list(itertools.product([0, 1], repeat=4)), float)
    grid = np.rint(ink_lab(corners) * [2.55, 1, 1] + [0, 128, 128]).astype(np.uint8)
    straight = bytes(range(256))
    lut = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2) + fixed(np.eye(3).ravel())
    lut += straight * 4 + grid.tobytes() + straight * 3
    return icc(b"prtr", b"CMYK", b"Lab ", {b"wtpt": xyz_tag(D50), b"A2B0": lut})


def colour_cube(side: int = 6) -> np.ndarray:
    """Every combination of `side` levels: uint8 (side, side², 3)."""
    levels = np.rint(np.linspace(0, 255, side)).astype(np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(side, -1, 3)


def gamma_1_8(encoded: np.ndarray) -> np.ndarray:
    return encoded**1.8


def files(root: Path, *names: str) -> Path:
    """A folder with files of these names, each of which holds its name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root
