import struct

import pytest
from pictures import photo, saved

from u2net import remove
from u2net.errors import ImageTooLarge, InvalidSetting
from u2net.images import limits
from u2net.images.limits import LIMITS, own_limits, read_at_most
from u2net.images.load import load_image


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch):
    monkeypatch.setattr(limits, "_free_memory", lambda: 8 * 2**30)


def test_one_s_own_pictures_may_be_as_large_as_memory_allows():
    assert own_limits().max_pixels == 2**28
    assert own_limits(processes=2).max_pixels == 2**27
    assert own_limits(processes=1000).max_pixels == LIMITS.max_pixels
    assert own_limits().max_side == own_limits().max_pixels
    assert own_limits().max_bytes > 2**31


def test_a_limit_takes_no_memory_before_there_is_something_to_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(saved(photo(), "PNG"))
    assert load_image(path, own_limits(max_bytes=2**60)).size == (48, 32)
    with path.open("rb") as file:
        assert len(read_at_most(file, 2**60)) == path.stat().st_size
    with path.open("rb") as file:
        assert len(read_at_most(file, 10)) == 11


def test_what_is_named_counts_before_the_environment(monkeypatch):
    monkeypatch.setenv("U2NET_MAX_PIXELS", "1000")
    monkeypatch.setenv("U2NET_MAX_SIDE", "100")
    monkeypatch.setenv("U2NET_MAX_BYTES", "10000")
    found = own_limits()
    assert (found.max_pixels, found.max_side, found.max_bytes) == (1000, 100, 10_000)
    assert own_limits(max_pixels=2000).max_pixels == 2000


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e9"])
def test_an_environment_that_makes_no_sense_is_refused(monkeypatch, value):
    monkeypatch.setenv("U2NET_MAX_PIXELS", value)
    with pytest.raises(InvalidSetting, match="U2NET_MAX_PIXELS is a whole number above 0"):
        own_limits()


@pytest.mark.parametrize(
    ("name", "value"), [("U2NET_MAX_PIXELS", "1000"), ("U2NET_MAX_SIDE", "40"), ("U2NET_MAX_BYTES", "50")]
)
def test_a_refusal_of_one_s_own_file_says_how_to_raise_the_limit(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    path = tmp_path / "a.png"
    path.write_bytes(saved(photo(), "PNG"))
    with pytest.raises(ImageTooLarge, match=r"--max-pixels.*U2NET_MAX_PIXELS"):
        remove(path)
    assert load_image(path, LIMITS).size == (48, 32)


def test_bytes_that_may_be_a_stranger_s_are_held_to_the_limits_of_services(monkeypatch):
    monkeypatch.setenv("U2NET_MAX_PIXELS", "1000")
    assert load_image(saved(photo(), "PNG")).size == (48, 32)
    bmp = bytearray(saved(photo(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 10_000, 10_000)
    with pytest.raises(ImageTooLarge, match=r"50,000,000$"):
        load_image(bytes(bmp))
