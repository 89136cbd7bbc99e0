"""What of a picture's Exif data its cut-out may carry."""

from __future__ import annotations

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

_MOST_BYTES = 65_527  # what a JPEG segment holds besides its head; larger ones cannot be written everywhere
_Base = ExifTags.Base
_INCH = 2
# A list of what stays: formats keep sizes, offsets and thumbnails among these tags, which are true no more.
_KEPT = (
    *(_Base.ImageDescription, _Base.Make, _Base.Model, _Base.Software, _Base.DateTime, _Base.Artist, _Base.Copyright),
    ExifTags.IFD.Exif,
)
_TABLES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_ABOUT_PIXELS = (_Base.ExifImageWidth, _Base.ExifImageHeight, _Base.ColorSpace, _Base.ExifInteroperabilityOffset)


def tiff_exif(file: TiffImageFile) -> bytes | None:
    """The Exif data of a TIFF file, whose own tags they are, as other formats hold it; None where it is broken.

    Without what describes the file itself, and without the maker's own note.
    """
    tags = Image.Exif()
    try:
        found = file.getexif()
        for number in map(int, (*_KEPT, ExifTags.IFD.GPSInfo)):
            if number in _TABLES:
                table = {tag: value for tag, value in found.get_ifd(number).items() if tag != _Base.MakerNote}
                if table:
                    tags.get_ifd(number).update(table)
            elif number in found:
                tags[number] = found[number]
        return tags.tobytes()
    except Warning:
        raise
    except Exception:  # almost any, of what strangers wrote
        return None


def kept_exif(exif: bytes | None, *, place: bool = False) -> bytes | None:
    """Exif data fit for an upright cut-out; None where there is none, or it is broken.

    Description, camera, lens, exposure, time, author and rights stay. Orientation, sizes, colour space and thumbnail,
    which may be true no more, go, and so does the maker's own note, which nobody can look through. Where it was taken
    (GPS) stays only with `place`.
    """
    if exif is None or len(exif) > _MOST_BYTES:
        return None
    kept_tags = [int(tag) for tag in _KEPT] + ([int(ExifTags.IFD.GPSInfo)] if place else [])
    try:
        tags = Image.Exif()
        tags.load(exif)
        camera = tags.get_ifd(ExifTags.IFD.Exif)
        for tag in (*_ABOUT_PIXELS, _Base.MakerNote):
            camera.pop(tag, None)
        for number in list(tags):
            if number not in kept_tags:
                del tags[number]
        kept = tags.tobytes()
        return kept if len(tags) and len(kept) <= _MOST_BYTES else None
    except Exception:  # almost any, of what strangers wrote
        return None


def with_resolution(exif: bytes | None, dpi: tuple[float, float] | None) -> bytes | None:
    """Exif data, none or what `kept_exif` gives, with the pixels per inch in print, across and down."""
    if dpi is None:
        return exif
    tags = Image.Exif()
    if exif is not None:
        tags.load(exif)
    tags[_Base.XResolution], tags[_Base.YResolution] = dpi
    tags[_Base.ResolutionUnit] = _INCH
    return tags.tobytes()
