"""What of a picture's Exif data its cut-out may carry."""

from __future__ import annotations

from PIL import ExifTags, Image

_MOST_BYTES = 65_527  # what a JPEG segment holds besides its head; larger ones cannot be written everywhere
_ABOUT_PIXELS = (ExifTags.Base.Orientation, ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength)
_ABOUT_PIXELS_TOO = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight, ExifTags.Base.ColorSpace)


def kept_exif(exif: bytes | None, *, place: bool = False) -> bytes | None:
    """Exif data fit for an upright cut-out; None where there is none, or it is broken.

    Camera, lens, exposure, time, author and rights stay. Orientation, sizes, colour space and thumbnail, which may be
    true no more, go, and so does the maker's own note, which nobody can look through. Where it was taken (GPS) stays
    only with `place`.
    """
    if exif is None or len(exif) > _MOST_BYTES:
        return None
    try:
        tags = Image.Exif()
        tags.load(exif)
        camera = tags.get_ifd(ExifTags.IFD.Exif)
        for tag in (*_ABOUT_PIXELS_TOO, ExifTags.Base.MakerNote):
            camera.pop(tag, None)
        gone = [int(tag) for tag in _ABOUT_PIXELS] + ([] if place else [int(ExifTags.IFD.GPSInfo)])
        for number in gone:
            if number in tags:
                del tags[number]
        kept = tags.tobytes()
        return kept if len(tags) and len(kept) <= _MOST_BYTES else None
    except Exception:  # almost any, of what strangers wrote
        return None
