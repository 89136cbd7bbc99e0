import io

import numpy as np
import pytest
from pictures import DISPLAY_P3, reopened, rgb_profile
from PIL import ExifTags, Image

from u2net.errors import ImageTooLarge
from u2net.images.exif import kept_exif
from u2net.images.tiff import to_tiff


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65_536, shape, dtype=np.uint16)


def _camera() -> bytes:
    tags = Image.Exif()
    tags[ExifTags.Base.Make] = "Cam"
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FNumber] = 2.5
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 30.0, 1.0)
    return tags.tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 4), (3, 2, 4), (700, 333, 4), (9, 70_000, 4), (900, 800)])
def test_tifffile_reads_the_same_levels(shape):
    tifffile = pytest.importorskip("tifffile")
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(to_tiff(_noise(*shape)))), _noise(*shape))


def test_pillow_reads_all_of_grey_and_the_upper_8_bits_of_colours():
    grey, colored = (reopened(to_tiff(_noise(*shape))) for shape in ((700, 333), (700, 333, 4)))
    assert (grey.mode, colored.mode) == ("I;16", "RGBA")
    np.testing.assert_array_equal(np.asarray(grey), _noise(700, 333))
    np.testing.assert_array_equal(np.asarray(colored), _noise(700, 333, 4) >> 8)


def test_it_is_deflated_differences_with_straight_alpha_as_others_name_them():
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(io.BytesIO(to_tiff(_noise(8, 8, 4)))) as file:
        page = file.pages.first
        assert (page.compression.name, page.predictor.name) == ("ADOBE_DEFLATE", "HORIZONTAL")
        assert [kind.name for kind in page.extrasamples] == ["UNASSALPHA"]
        assert (page.photometric.name, page.bitspersample) == ("RGB", 16)


def test_a_smooth_picture_becomes_a_small_file():
    gradient = np.linspace(0, 65_535, 1000, dtype=np.uint16)
    assert len(to_tiff(np.tile(gradient, (500, 1)))) < gradient.nbytes * 500 / 20


def test_memory_may_lie_in_any_order():
    turned = _noise(40, 30, 4)[::-1].swapaxes(0, 1)
    np.testing.assert_array_equal(np.asarray(reopened(to_tiff(turned))), turned >> 8)


def test_the_profile_stays_but_for_a_mask():
    profile = rgb_profile(DISPLAY_P3)
    assert reopened(to_tiff(_noise(3, 3, 4), profile)).info["icc_profile"] == profile
    assert "icc_profile" not in reopened(to_tiff(_noise(3, 3), profile)).info


def test_exposure_and_place_stay_as_asked():
    written = reopened(to_tiff(_noise(3, 3, 4), exif=kept_exif(_camera(), place=True))).getexif()
    assert written[ExifTags.Base.Make] == "Cam"
    assert written.get_ifd(ExifTags.IFD.Exif) == {ExifTags.Base.FNumber: 2.5}
    assert written.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (52.0, 30.0, 1.0)
    placeless = reopened(to_tiff(_noise(3, 3, 4), exif=kept_exif(_camera()))).getexif()
    assert not placeless.get_ifd(ExifTags.IFD.GPSInfo)


def test_what_offsets_of_32_bits_do_not_reach_is_refused():
    with pytest.raises(ImageTooLarge, match=r"^TIFF holds 4,278,190,080 bytes"):
        to_tiff(np.broadcast_to(np.uint16(0), (30_000, 20_000, 4)))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(H, W\) or \(H, W, 4\)"):
        to_tiff(_noise(3, 3, 3))
