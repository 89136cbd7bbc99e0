import struct
import tracemalloc

import pytest
from pictures import chunk, photo, png, reopened, saved, tiff
from PIL import ExifTags, Image

from u2net.errors import ImageTooLarge, InvalidImage
from u2net.images import metadata
from u2net.images.limits import Limits
from u2net.images.load import load_image

ORIENTATION, RESOLUTION, EXIF_TABLE, PRIVATE = 274, 282, 34_665, 37_000
LONG, FRACTION, BYTES = 4, 5, 7


def table(*entries, body=b""):
    """A little-endian table of tags (number, type, count, value), where the value None is the place of the body."""
    start = 8 + 2 + 12 * len(entries) + 4
    packed = b"".join(struct.pack("<HHII", *entry[:3], start if entry[3] is None else entry[3]) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(4) + body


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments):
    content = saved(photo(), "JPEG")
    return content[:2] + b"".join(segments) + content[2:]


def jpeg_with_exif(exif):
    return jpeg(*(segment(0xE1, b"Exif\0\0" + exif[start:][:65_000]) for start in range(0, len(exif), 65_000)))


def png_with(*chunks):
    return png(4, 4, 8, 0, bytes(20), *chunks)


def webp_with(*chunks):
    frame = saved(photo(), "WEBP", lossless=True)[12:]
    head = struct.pack("<I", 0x0C) + (47).to_bytes(3, "little") + (31).to_bytes(3, "little")
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(part)) + part for kind, part in [(b"VP8X", head)]) + frame
    body += b"".join(kind + struct.pack("<I", len(part)) + part for kind, part in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_with(blocks):
    content = saved(photo(), "GIF")
    start = 13 + (3 << ((content[10] & 7) + 1))
    return content[:start] + blocks + content[start:]


def tiff_with(*entries, body=b""):
    """A TIFF file of 4 × 4 greys with more tags, whose body lies at its end."""
    plain = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 277: 1, 278: 4, 279: 16}
    rows = sorted([*((tag, LONG, 1, value) for tag, value in plain.items()), (273, LONG, 1, None), *entries])
    place = 8 + 2 + 12 * len(rows) + 4 + 16
    return table(
        *(row if row[0] == 273 or row[3] is not None else (*row[:3], place) for row in rows), body=bytes(16) + body
    )


LONG_EXIF = table((PRIVATE, BYTES, 2**20, None), body=bytes(2**20))
CROWDED_EXIF = table((ORIENTATION, FRACTION, 20_000, None), body=bytes(160_000))
MANY_TAGS = table(*((number, LONG, 1, 1) for number in range(5000)))
OVERLAPPING = table(*((number, BYTES, 50_000, None) for number in range(400, 600)), body=bytes(50_000))
IN_A_TABLE = table((EXIF_TABLE, LONG, 1, 26))[:26] + CROWDED_EXIF[8:22] + bytes(160_040)


@pytest.mark.parametrize("exif", [LONG_EXIF, CROWDED_EXIF, MANY_TAGS, OVERLAPPING, IN_A_TABLE])
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_exif_data_that_no_camera_writes_is_left_out(kind, exif):
    made = {
        "jpeg": lambda: jpeg_with_exif(exif),
        "png": lambda: png_with(chunk(b"eXIf", exif)),
        "webp": lambda: webp_with((b"EXIF", exif)),
    }
    assert load_image(made[kind]()).exif is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_what_cameras_write_stays(kind):
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = bytes(50_000)
    picture = load_image(saved(photo(), kind, exif=tags.tobytes()))
    assert picture.size == (32, 48)
    assert picture.exif


def test_a_jpeg_may_hold_much_that_is_not_read():
    parts = [segment(0xED, b"Photoshop 3.0\0" + bytes(60_000))] * 80 + [segment(0xFE, b"a note")]
    parts += [segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(60_000))] * 30
    upright = segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>')
    assert load_image(jpeg(*parts, upright)).size == (32, 48)
    kept = reopened(metadata.bare_jpeg(jpeg(*parts, upright)))
    assert [name for name, _ in kept.applist] == ["APP1", "APP0"]


def test_bytes_between_the_segments_of_a_jpeg_are_skipped():
    content = saved(photo(), "JPEG")
    junk = content[:20] + b"\1\xff\0" * 50_000 + content[20:]
    assert metadata.bare_jpeg(junk) == metadata.bare_jpeg(content)
    assert load_image(junk).rgb.tobytes() == load_image(content).rgb.tobytes()


def test_markers_are_found_wherever_a_piece_ends(monkeypatch):
    content = jpeg(segment(0xFE, bytes(100)))
    bare, end = metadata.bare_jpeg(content), metadata.check_segments(content)
    for size in range(2, 40):
        monkeypatch.setattr(metadata, "_PIECE", size)
        assert (metadata.bare_jpeg(content), metadata.check_segments(content)) == (bare, end)


@pytest.mark.parametrize(
    "make",
    [
        lambda: jpeg(*[segment(0xDB, (bytes(1) + bytes(64)) * 1000)] * 5),
        lambda: png_with(chunk(b"teSt") * 10_000),
        lambda: png_with(chunk(b"IDAT") * 10_000),
        lambda: webp_with(*[(b"teSt", b"")] * 10_000),
        lambda: gif_with(b"!\xfe" + b"\1a" * 10_000 + b"\0"),
        lambda: gif_with(b"!\xff\x0bXMP DataXMP" + b"\1a" * 10_000 + b"\0"),
        lambda: gif_with(b"!\xf9\0" + b"\1," * 10_000 + b"\0"),
        lambda: gif_with(b"\1" * 10_000),
        lambda: b"P5 #" + b"a" * 10_000 + b"\n4 4 255\n" + bytes(16),
        lambda: b"P3 " + b"#\n" * 10_000 + b"4 4 255\n" + bytes(16),
        lambda: b"P5" + b"\n#" * 10_000 + b"\n4 4 255\n" + bytes(16),
        lambda: b"P5 4" + b" " * 10_000 + b"4 255\n" + bytes(16),
        lambda: tiff_with((RESOLUTION, FRACTION, 20_000, None), body=bytes(160_000)),
        lambda: tiff_with((258, 3, 300_000, None), body=bytes(600_000)),
        lambda: tiff_with(*((number, LONG, 1, 7) for number in range(1000, 6000))),
        lambda: tiff_with(*((number, BYTES, 50_000, None) for number in range(1000, 1200)), body=bytes(50_000)),
        lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 70_000) + bytes(20) * 70_000,
    ],
)
def test_what_pillow_would_walk_over_for_seconds_is_refused(monkeypatch, make):
    for limit in ("_MAX_CHUNKS", "_MAX_READS"):
        monkeypatch.setattr(metadata, limit, 5000)
    content = make()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidImage, match=r"far too m|more than"):
            load_image(content)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_large_metadata_of_programs_is_read_past():
    texts = tiff_with((270, 2, 10**6, None), (700, 1, 10**6, None), (34_377, 1, 10**6, None), body=b"a" * 10**6)
    with pytest.raises(InvalidImage, match="far too many"):  # three times the same bytes
        load_image(texts)
    assert load_image(tiff_with((700, 1, 10**6, None), body=b"a" * 10**6)).size == (4, 4)
    assert load_image(tiff_with((301, 3, 196_608, None), body=bytes(393_216))).size == (4, 4)
    assert load_image(gif_with(b"!\xff\x0bXMP DataXMP" + (b"\x60" + b"a" * 96) * 20_000 + b"\0")).size == (48, 32)
    assert load_image(png_with(chunk(b"zTXt", bytes(10**6)))).size == (4, 4)
    assert load_image(webp_with() + bytes(2 * 10**6)).size == (48, 32)


def test_strips_of_a_row_are_many():
    num_rows = 16_000
    content = tiff(
        {256: 1, 257: num_rows, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: num_rows, 279: num_rows}, bytes(9)
    )
    places = struct.pack(f"<{num_rows}I", *[8] * num_rows)
    for tag in (273, 279):
        at = content.index(struct.pack("<HHI", tag, 4, 1))
        content = content[:at] + struct.pack("<HHII", tag, 4, num_rows, len(content)) + content[at + 12 :] + places
    metadata.check_tags(content)


def test_comments_among_numbers_take_no_time_of_their_own():
    numbers = b"".join(b"%d #x\n" % number for number in range(16))
    assert load_image(b"P2 4 4 15\n" + numbers).rgb.getpixel((3, 3)) == (255, 255, 255)
    assert metadata.without_comments(b"P2 4#a\r4 #b\n15\n" + b"#\n" * 10) == b"P2 44 15\n"
    assert load_image(b"P5 #a\n4 4 255\n" + b"#\na\n" * 4).rgb.getpixel((0, 0)) == (35, 35, 35)


def bmp_rle(size):
    """A grey BMP of lines that are each one colour, in runs of 255 pixels."""
    runs = bytes([255, 7]) * size + bytes(2)
    head = struct.pack("<IiiHHIIiiII", 40, 255 * size, 1, 1, 8, 1, len(runs), 0, 0, 1, 0)
    return struct.pack("<2sIHHI", b"BM", 58 + len(runs), 0, 0, 58) + head + bytes(4) + runs


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(bmp_rle, id="BMP"),
        pytest.param(lambda size: b"P2 %d 1 255\n" % size + b"7 " * size, id="text"),
        pytest.param(lambda size: b"P2 1 1 255\n7 #" + b"a" * size, id="comment"),
        pytest.param(lambda size: b"P5 %d 1 100\n" % size + b"7" * size, id="other levels"),
    ],
)
def test_what_pillow_decodes_in_python_is_an_eighth_as_long(make):
    limits = Limits(max_bytes=1000)
    load_image(make(20), limits)
    with pytest.raises(ImageTooLarge, match="more than 125 bytes"):
        load_image(make(130), limits)


def test_reading_is_unlimited_after_the_header():
    file = metadata.Header(bytes(metadata._MAX_READS + 9))
    for _ in range(metadata._MAX_READS):
        file.read(1)
    with pytest.raises(InvalidImage):
        file.read(1)
    file.done()
    assert len(file.read()) == 9
