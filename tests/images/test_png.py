import struct
import zlib

import numpy as np
import pytest
from pictures import photo, reopened
from PIL import Image

from u2net.images import png
from u2net.images.png import to_png

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of each chunk, after its checksum was found to be right."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, position = [], 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        body = content[position + 4 : position + 8 + length]
        assert int.from_bytes(content[position + 8 + length : position + 12 + length]) == zlib.crc32(body)
        found.append((body[:4], body[4:]))
        position += 12 + length
    return found


def decode(content: bytes) -> np.ndarray:
    """The standard spelled out byte by byte: (H, W, C)."""
    parts = chunks(content)
    width, height, depth, color, *rest = struct.unpack(">IIBBBBB", parts[0][1])
    assert (parts[0][0], depth, rest) == (b"IHDR", 8, [0, 0, 0])
    assert parts[-1] == (b"IEND", b"")
    step = CHANNELS[color]
    stream = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))  # which checks its Adler-32
    above = bytes(width * step)
    rows = []
    for i in range(height):
        kind, *row = stream[i * (width * step + 1) : (i + 1) * (width * step + 1)]
        for x in range(len(row)):
            left, corner = (row[x - step], above[x - step]) if x >= step else (0, 0)
            estimate = left + above[x] - corner
            nearest = min((left, above[x], corner), key=lambda value: abs(estimate - value))  # the first of equals
            row[x] = (row[x] + (0, left, above[x], (left + above[x]) // 2, nearest)[kind]) % 256
        rows.append(row)
        above = row
    return np.array(rows, dtype=np.uint8).reshape(height, width, step)


def kinds_used(content: bytes) -> set[int]:
    """Numbers of the filters in the rows."""
    parts = chunks(content)
    width, _, _, color, *_ = struct.unpack(">IIBBBBB", parts[0][1])
    stream = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    return set(stream[:: width * CHANNELS[color] + 1])


def noise(width: int, height: int, channels: int, spread: int = 256) -> np.ndarray:
    return np.random.default_rng(7).integers(0, spread, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (40, 30)])
@pytest.mark.parametrize("level", [1, 6])
def test_every_pixel_comes_back_by_the_standard(mode, size, level):
    image = Image.fromarray(noise(*size, 4), "RGBA").convert(mode)
    pixels = np.asarray(image).reshape(*size[::-1], -1)
    np.testing.assert_array_equal(decode(to_png(image, level=level)), pixels)


@pytest.mark.parametrize("kind", [1, 2, 4])
def test_each_filter_is_undone_by_the_standard(monkeypatch, kind):
    monkeypatch.setattr(png, "_FILTERS", {kind: png._FILTERS[kind]})
    image = Image.fromarray(noise(60, 50, 3))
    content = to_png(image)
    assert kinds_used(content) == {kind}
    np.testing.assert_array_equal(decode(content), np.asarray(image))


def test_paeth_chooses_as_the_standard_does_for_every_kind_of_neighbours():
    values = (0, 1, 2, 100, 127, 128, 254, 255)
    left, above, corner = (grid.ravel() for grid in np.meshgrid(values, values, values))
    rows = np.stack([left, np.zeros_like(left)], axis=1).astype(np.uint8)
    predicted = png._paeth(rows, np.stack([corner, above], axis=1).astype(np.uint8), 1)[:, 1]
    for a, b, c, found in zip(left.tolist(), above.tolist(), corner.tolist(), predicted.tolist(), strict=True):
        assert found == min((a, b, c), key=lambda value: abs(a + b - c - value))


def test_bands_join_into_one_stream(monkeypatch):
    monkeypatch.setattr(png, "_BAND_BYTES", 1000)
    image = Image.fromarray(noise(50, 33, 4, spread=3))
    content = to_png(image)
    assert sum(kind == b"IDAT" for kind, _ in chunks(content)) == 2 + 7
    np.testing.assert_array_equal(decode(content), np.asarray(image))


def test_pillow_reads_a_picture_of_many_bands():
    image = Image.fromarray(noise(1500, 1100, 4, spread=9))
    assert reopened(to_png(image)).copy() == image


def test_the_bytes_do_not_depend_on_the_number_of_threads(monkeypatch):
    image = Image.fromarray(noise(1024, 1500, 3, spread=40))
    content = to_png(image)
    monkeypatch.setattr(png, "in_threads", lambda work, items: list(map(work, items)))
    assert to_png(image) == content


def test_the_joined_checksum_is_that_of_the_whole():
    content = noise(999, 30, 1).tobytes()
    for middle in (0, 1, 15_000, len(content)):
        first, second = content[:middle], content[middle:]
        joined = png._joined_adler(zlib.adler32(first), zlib.adler32(second), len(second))
        assert joined == zlib.adler32(content)


def test_the_profile_comes_back():
    profile = bytes(range(256)) * 3
    assert reopened(to_png(photo(), profile)).info == {"icc_profile": profile}


def test_no_metadata_is_written():
    image = photo()
    image.info = {"dpi": (72, 72), "comment": "at home", "transparency": (1, 2, 3)}
    assert {kind for kind, _ in chunks(to_png(image))} == {b"IHDR", b"IDAT", b"IEND"}


def test_without_isa_l_the_file_is_zlibs(monkeypatch):
    monkeypatch.setattr(png, "isal", zlib)
    assert reopened(to_png(photo())).copy() == photo()


@pytest.mark.parametrize("level", [0, 10])
def test_other_levels_are_refused(level):
    with pytest.raises(ValueError, match="1 to 9"):
        to_png(photo(), level=level)


def test_other_modes_are_refused():
    with pytest.raises(ValueError, match="CMYK"):
        to_png(Image.new("CMYK", (2, 2)))


def test_a_cut_out_is_at_most_a_tenth_larger_than_pillows(packaged, photograph, tmp_path):
    from u2net import remove

    cutout = remove(photograph, session=packaged)
    cutout.save(tmp_path / "pillow.png")
    assert len(to_png(cutout)) <= 1.1 * (tmp_path / "pillow.png").stat().st_size


def test_patience_makes_the_file_smaller():
    assert len(to_png(photo(), level=9)) < len(to_png(photo()))
