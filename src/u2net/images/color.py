"""From any mode and colour space that Pillow knows to straight 8-bit RGB."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

_COLOUR_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}
_MAX_SAMPLE_VALUE = 281
_PROBE = Image.fromarray(np.ascontiguousarray(np.indices((16, 16, 16)).reshape(3, 64, 64).T * 17, np.uint8))


def separate(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colour in mode L, RGB, CMYK or LAB, not multiplied by alpha; alpha in mode L."""
    if image.mode in ("CMYK", "LAB"):
        return image, None
    if image.mode[0] in "IF":
        return _to_grey(image)
    if image.mode == "P":
        # Pillow writes the transparency into the palette that it converts from.
        image = image.copy()
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        return _convert(image, mode), None
    image = _convert(image, mode + "A")
    return image.convert(mode), image.getchannel("A")


def white_of_16_bits(highest: int, stated: int | None = None) -> int:
    """The white level of 16-bit values up to `highest`: what the file `stated`, unless they exceed it.

    Of a file that stated nothing it is that of 8, 10, 12, 14 or 16 bits, the fewest that hold all values: so cameras
    and scanners of fewer bits store them.
    """
    if stated and highest <= stated:
        return stated
    return next(white for white in (255, 1023, 4095, 16_383, 65_535) if highest <= white)


def to_rgb(image: Image.Image, profile: object, max_icc_bytes: int) -> tuple[Image.Image, bytes | None]:
    """Mode RGB, and the profile it is in unless that is sRGB. A broken or misplaced profile counts as none."""
    if isinstance(profile, bytes) and len(profile) <= max_icc_bytes:
        space = profile[16:20]
        try:
            if space == b"RGB " and image.mode in ("L", "RGB"):
                return _convert(image, "RGB"), None if is_srgb(to_srgb(profile, "RGB")) else profile
            if space == _COLOUR_SPACES[image.mode]:
                return to_srgb(profile, image.mode).apply(image), None
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            pass
    return _convert(image, "RGB"), None


def to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    """The way from a profile, read in `mode`, to sRGB in mode RGB. Raises what littlecms does of a broken one."""
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a way from RGB to sRGB changes colours by one level of 256 at most.

    Profiles of sRGB have many names, and other profiles have its name: only what they do counts.
    """
    seen = np.asarray(transform.apply(_PROBE), np.int16)
    return bool(np.abs(seen - np.asarray(_PROBE)).max() <= 1)


def from_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An RGB image in sRGB, in the space of an RGB profile; as it is where there is none that leads there."""
    if profile is None:
        return image
    try:
        return ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"),
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            "RGB",
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        ).apply(image)
    except (ImageCms.PyCMSError, OSError):  # a profile for reading alone
        return image


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert without Pillow's copy of what is in that mode already."""
    return image if image.mode == mode else image.convert(mode)


def stated_white(image: Image.Image) -> int | None:
    """What a file of 16 bits says of its white level, by TIFF's tags or PNG's sBIT; None if it says nothing."""
    if isinstance(image, TiffImageFile):
        if image.tag_v2.get(BITSPERSAMPLE) == (12,):
            return 4095
        stated = image.tag_v2.get(_MAX_SAMPLE_VALUE)
        stated = stated[0] if isinstance(stated, tuple) and stated else stated
        return min(stated, 65_535) if isinstance(stated, int) else None
    bits = image.info.get("significant_bits")
    return None if bits is None else 2**bits - 1


def _to_grey(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    values = np.array(image)
    alpha = None
    if "transparency" in image.info:
        alpha = Image.fromarray(np.where(values == image.info["transparency"], np.uint8(0), np.uint8(255)))
    # NaN and infinity are expected.
    with np.errstate(all="ignore"):
        white = 65535
        if image.mode in ("I", "F"):
            levels = (1, 255, 65535) if image.mode == "F" else (255, 65535, 2**31 - 1)
            fitting = (level for level in levels if np.count_nonzero(values > level) <= values.size // 100)
            white = next(fitting, levels[-1])
        else:
            white = white_of_16_bits(int(values.max()), stated_white(image))
        scaled = np.clip(values, 0, white).astype(np.float32)
        scaled *= np.float32(255 / white)
        np.nan_to_num(np.rint(scaled, out=scaled), copy=False)
        return Image.fromarray(scaled.astype(np.uint8)), alpha
