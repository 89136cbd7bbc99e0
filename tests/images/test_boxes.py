import importlib.util
import re
import struct

import pytest
from pictures import photo, reopened, saved

from u2net.errors import ImageTooLarge, InvalidImage
from u2net.images.boxes import check_boxes
from u2net.images.limits import Limits
from u2net.images.load import load_image

SMALL = Limits(max_pixels=1000, max_side=100)


def box(kind, content=b""):
    return struct.pack(">I4s", 8 + len(content), kind) + content


def file_of(items, properties=b""):
    """A file of items, (kind, content) each, without the rest that a decoder needs."""
    entries, places, stored = b"", b"", b""
    for number, (kind, content) in enumerate(items, 1):
        entries += box(b"infe", struct.pack(">IHH4s", 2 << 24, number, 0, kind))
        places += struct.pack(">HHHHII", number, 1, 0, 1, len(stored), len(content))
        stored += content
    tables = box(b"iinf", struct.pack(">IH", 0, len(items)) + entries)
    tables += box(b"iloc", struct.pack(">IHH", 1 << 24, 0x4400, len(items)) + places) + box(b"idat", stored)
    return box(b"ftyp", b"heic") + box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", properties)) + tables)


def packed(bits):
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))


def av1(width, height, *, still=True, num_bits=16):
    """A sequence header of AV1."""
    head = f"0001{'1' if still else '0'}" + ("00000" if still else "00" + "00000" + 12 * "0" + "00000")
    size = f"{num_bits - 1:04b}{num_bits - 1:04b}{width - 1:0{num_bits}b}{height - 1:0{num_bits}b}"
    content = packed(head + size) + bytes(4)
    return bytes([1 << 3 | 2, len(content)]) + content


def frame(*, has_own_size=False):
    """The start of a frame of AV1."""
    content = packed(f"00010{'1' if has_own_size else '0'}") + bytes(4)
    return bytes([6 << 3 | 2, len(content)]) + content


def golomb(number):
    return f"{number + 1:b}".rjust(2 * (number + 1).bit_length() - 1, "0")


def hevc(width, height):
    """A sequence parameter set of HEVC, behind its length."""
    bits = "0000" + "001" + "1" + 96 * "1" + "11" + 14 * "0" + 96 * "1" + golomb(0) + golomb(1)
    unit = bytes([33 << 1, 1]) + packed(bits + golomb(width) + golomb(height)).replace(b"\0\0", b"\0\0\3") + bytes(4)
    return struct.pack(">I", len(unit)) + unit


def lying(content, size):
    """The same file with another size in its description."""
    return re.sub(rb"(ispe....)........", lambda found: found[1] + struct.pack(">II", *size), content, flags=re.DOTALL)


def test_an_avif_picture_is_as_large_as_its_codec_makes_it():
    content = lying(saved(photo(64, 48), "AVIF"), (8, 8))
    with pytest.raises(ImageTooLarge, match=r"64 × 48 pixels: a picture may have 1,000"):
        load_image(content, SMALL)


@pytest.mark.skipif(not importlib.util.find_spec("pillow_heif"), reason="needs the extra heif")
def test_a_heic_picture_is_as_large_as_its_codec_makes_it(tmp_path):
    import pillow_heif

    pillow_heif.from_pillow(photo(640, 480)).save(tmp_path / "a.heic")
    content = (tmp_path / "a.heic").read_bytes()
    assert load_image(content).size == (640, 480)
    with pytest.raises(ImageTooLarge, match="pixels: a side may have 100"):
        load_image(lying(content, (8, 8)), SMALL)


@pytest.mark.parametrize("size", [(20, 20), (90, 10)])
@pytest.mark.parametrize("coded", ["av01", "hvc1"])
def test_what_is_within_the_limits_passes(coded, size):
    check_boxes(file_of([(coded.encode(), av1(*size) if coded == "av01" else hevc(*size))]), SMALL)


@pytest.mark.parametrize(
    "content",
    [
        file_of([(b"av01", av1(9, 9) + av1(9000, 9000))]),
        file_of([(b"av01", av1(9, 9)), (b"av01", av1(9000, 9000))]),
        file_of([(b"av01", av1(9000, 9000, still=False))]),
        file_of([(b"av01", av1(9, 9, still=False) + frame() + frame(has_own_size=True))]),  # of up to 16 bits
        file_of([(b"hvc1", hevc(9, 9) + hevc(9000, 9000))]),
        file_of([(b"hvc1", hevc(9, 9))], box(b"hvcC", bytes(22) + b"\1\x21\0\1" + hevc(9000, 9000)[2:])),
        file_of([(b"hvc1", hevc(9, 9)), (b"grid", struct.pack(">BBBBHH", 0, 0, 9, 9, 9000, 9000))]),
        file_of([(b"hvc1", hevc(9, 9)), (b"grid", struct.pack(">BBBBII", 0, 1, 9, 9, 90_000, 90_000))]),
        file_of([(b"hvc1", hevc(9, 9)), (b"iovl", bytes(10) + struct.pack(">HH", 9000, 9000))]),
        file_of([(b"av01", av1(30, 30))] * 5),
    ],
)
def test_a_larger_picture_anywhere_in_the_file_is_refused(content):
    with pytest.raises(ImageTooLarge):
        check_boxes(content, SMALL)


def test_a_size_that_needs_fewer_bits_than_it_has_is_the_size():
    check_boxes(file_of([(b"av01", av1(9, 9, still=False) + frame())]), SMALL)


def with_16_bits(content, own_size=None):
    """The first picture of an AVIF film as a file that takes 16 bits for each size, as SVT-AV1 does."""
    still, film = saved(photo(64, 48), "AVIF"), content[content.index(b"mdat") + 4 :]
    start = film.index(b"\x0a")
    end = start + 2 + film[start + 1]
    head = bin(int.from_bytes(b"\1" + film[start + 2 : end]))[3:]
    sizes = head.index("01010101" + f"{63:06b}{47:06b}")
    head = packed(head[:sizes] + "11111111" + f"{63:016b}{47:016b}" + head[sizes + 20 :])
    coded = bin(int.from_bytes(b"\1" + film[end + 2 : end + 2 + film[end + 1]]))[3:]
    if own_size:
        coded = coded[:6] + "1" + coded[7:14] + f"{own_size[0] - 1:016b}{own_size[1] - 1:016b}" + coded[14:]
    picture = packed(coded)
    stream = bytes([1 << 3 | 2, len(head)]) + head + bytes([6 << 3 | 2, len(picture)]) + picture
    place = still.index(b"mdat")
    lengths = [struct.pack(">I", len(part)) for part in (still[place + 4 :], stream)]
    return still[: place - 4].replace(*lengths) + box(b"mdat", stream)


def test_a_film_of_other_encoders_is_as_large_as_its_frames():
    content = saved(photo(64, 48), "AVIF", save_all=True, append_images=[photo(64, 48).rotate(90)], codec="aom")
    assert load_image(with_16_bits(content)).size == (64, 48)
    assert reopened(with_16_bits(content, (64, 48))).size == (64, 48)  # it is such a file
    with pytest.raises(ImageTooLarge, match="65536 × 65536"):
        load_image(with_16_bits(content, (9000, 9000)))


@pytest.mark.parametrize("description", [box(b"av01", bytes(78) + box(b"av1C", bytes(4))), box(b"av01", bytes(78))])
def test_the_first_picture_of_a_film_counts(description):
    def film(start, stream):
        table = box(b"stsd", bytes(8) + description) + box(b"stco", struct.pack(">III", 0, 1, start))
        table += box(b"stsz", struct.pack(">III", 0, 0, 1) + struct.pack(">I", len(stream)))
        return box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", table)))))

    for size in ((9, 9), (9000, 9000)):
        stream = av1(*size)
        content = film(len(film(0, stream)), stream) + stream
        if size == (9, 9):
            check_boxes(content, SMALL)
        else:
            with pytest.raises(ImageTooLarge):
                check_boxes(content, SMALL)


def test_what_follows_the_boxes_is_read_past():
    assert load_image(saved(photo(), "AVIF") + b"\0\0\0\4 written by some other program").size == (48, 32)


def nested(depth):
    content = b""
    for _ in range(depth):
        content = box(b"moov", content)
    return content


@pytest.mark.parametrize(
    "content",
    [
        box(b"ftyp", b"avif"),
        file_of([(b"av01", av1(9, 9)), (b"Exif", bytes(4) + b"II*\0" + bytes(2**20))]),
        nested(2000),
        box(b"free") * 70_000,
        file_of([(b"av01", av1(9, 9)), (b"av01", frame(has_own_size=True))]),
        file_of([(b"av01", b"\x0a\0" * 70_000)]),
        file_of([(b"av01", b"\x12\0" * 70_000)]),
        file_of([(b"av01", av1(9, 9) * 5000)]),
        file_of([(b"av01", bytes(9)), (b"hvc1", bytes(4) * 70_000)]),
        file_of([(b"av01", av1(9, 9)[:4])]),
        file_of([(b"hvc1", hevc(9, 9)[:8])]),
        file_of([(b"av01", av1(9, 9))]).replace(
            struct.pack(">HHHH", 1, 1, 0, 1), struct.pack(">HHHH", 1, 1, 0, 65_535)
        ),
    ],
)
def test_a_file_that_hides_its_size_or_holds_too_much_is_refused(content):
    with pytest.raises(InvalidImage) as caught:
        check_boxes(content, SMALL)
    assert caught.type is InvalidImage
