import pytest
from pictures import exif, photo, reopened, saved
from PIL import ExifTags, Image

from u2net.images.exif import kept_exif
from u2net.images.load import load_image
from u2net.images.save import encode


def _camera(**more: object) -> bytes:
    """What a telephone writes."""
    tags = Image.Exif()
    tags[ExifTags.Base.Make] = "Cam"
    tags[ExifTags.Base.Orientation] = 6
    tags.get_ifd(ExifTags.IFD.Exif).update(
        {
            ExifTags.Base.FNumber: 2.5,
            ExifTags.Base.MakerNote: b"who knows",
            ExifTags.Base.ExifImageWidth: 4000,
            ExifTags.Base.ExifImageHeight: 3000,
            ExifTags.Base.ColorSpace: 1,
        }
    )
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 30.0, 1.0)
    return tags.tobytes()


def _read(exif: bytes | None) -> Image.Exif:
    tags = Image.Exif()
    tags.load(exif)
    return tags


def test_what_the_camera_noted_stays():
    kept = _read(kept_exif(_camera()))
    assert kept[ExifTags.Base.Make] == "Cam"
    assert kept.get_ifd(ExifTags.IFD.Exif) == {ExifTags.Base.FNumber: 2.5}


def test_an_upright_picture_is_not_turned_again():
    assert ExifTags.Base.Orientation not in _read(kept_exif(_camera()))


def test_where_it_was_taken_stays_on_request_alone():
    assert not _read(kept_exif(_camera())).get_ifd(ExifTags.IFD.GPSInfo)
    placed = _read(kept_exif(_camera(), place=True)).get_ifd(ExifTags.IFD.GPSInfo)
    assert placed[ExifTags.GPS.GPSLatitude] == (52.0, 30.0, 1.0)
    assert b"\0\0\0\x34" in _camera()  # 52 degrees: the bytes that must be gone
    assert b"\0\0\0\x34" not in kept_exif(_camera())


@pytest.mark.parametrize(
    "broken", [None, b"", b"Exif\0\0", b"nonsense", exif(6)[:-7], b"Exif\0\0MM\0*" + bytes(70_000)]
)
def test_what_is_no_exif_is_dropped(broken):
    assert kept_exif(broken) is None


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("target", ["png", "webp", "jpg", "avif", "tiff"])
def test_it_goes_from_any_format_to_any(source, target):
    picture = load_image(saved(photo(), source, exif=_camera()))
    written = reopened(encode(picture.rgb, target, exif=kept_exif(picture.exif)))
    written.load()
    assert written.getexif()[ExifTags.Base.Make] == "Cam"
    assert not written.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    assert written.size == (32, 48)


def test_tags_that_describe_a_file_do_not_get_into_another():
    """A stranger's tile size would ruin a TIFF file."""
    tags = Image.Exif()
    tags[ExifTags.Base.Artist] = "me"
    tags[ExifTags.Base.TileWidth] = 16
    kept = _read(kept_exif(tags.tobytes()))
    assert kept[ExifTags.Base.Artist] == "me"
    assert ExifTags.Base.TileWidth not in kept
