import base64
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from u2net.server.removebg import margins, region

from .running import opener, picture, running

PATH = "/v1.0/removebg"
_SUBJECT = 20  # of 40 columns


def _left_half(batch):
    maps = np.zeros((len(batch), 1, *batch.shape[2:]), dtype=np.float32)
    maps[..., : batch.shape[3] // 2] = 1
    return maps


@pytest.fixture(scope="module")
def half():
    """A service whose network takes the left half for the subject."""
    with running(opener(_left_half)) as half:
        yield half


def _stripes() -> bytes:
    """40 columns: what the network takes for the subject has another colour, in the whole and in the right half."""
    image = Image.new("RGB", (40, 20), (200, 60, 30))
    image.paste((30, 160, 60), (20, 0, 30, 20))
    image.paste((40, 60, 200), (30, 0, 40, 20))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _post(place, **fields):
    return place.post(PATH, {"image_file": _stripes(), **fields})


def test_the_answer_has_its_size_and_charges_nothing(half):
    reply = _post(half, size="full")
    assert reply.status == 200
    assert (reply.headers["x-width"], reply.headers["x-height"]) == ("40", "20")
    assert reply.headers["x-credits-charged"] == "0"
    alpha = np.asarray(reply.image())[:, :, 3]
    assert alpha[:, :19].all()
    assert not alpha[:, 21:].any()


@pytest.mark.parametrize(
    ("size", "expected"), [("preview", 0.25), ("regular", 0.25), ("medium", 1.5), ("auto", 2.0), ("full", 2.0)]
)
def test_sizes_are_megapixels(half, size, expected):
    reply = half.post(PATH, {"image_file": picture((2000, 1000)), "size": size})
    width, height = reply.image().size
    assert width == pytest.approx(2 * height, abs=2)
    assert expected * 0.99 < width * height / 1e6 <= expected


def test_a_picture_in_base64(half):
    assert half.post(PATH, {"image_file_b64": base64.b64encode(picture()).decode()}).status == 200
    assert (
        half.post(PATH, {"image_file_b64": "data:image/png;base64," + base64.b64encode(picture()).decode()}).status
        == 200
    )


def test_fields_as_json(half):
    asked = {"image_file_b64": base64.b64encode(_stripes()).decode(), "crop": True, "roi": None}
    reply = half.ask("POST", PATH, json.dumps(asked), {"Content-Type": "application/json"})
    assert reply.image().size == (_SUBJECT, 20)


def test_fields_in_the_url_encoding(half):
    body = "size=full&image_file_b64=" + base64.b64encode(picture()).decode().replace("+", "%2B")
    assert half.ask("POST", PATH, body, {"Content-Type": "application/x-www-form-urlencoded"}).status == 200


def test_an_answer_as_json(half):
    reply = half.post(PATH, {"image_file": picture((40, 20))}, Accept="application/json")
    image = Image.open(io.BytesIO(base64.b64decode(reply.json()["data"]["result_b64"])))
    assert image.size == (40, 20)
    assert reply.headers["x-width"] == "40"


def test_a_background_colour_makes_a_jpeg(half):
    reply = _post(half, bg_color="0000ff")
    assert reply.headers["content-type"] == "image/jpeg"
    assert np.asarray(reply.image())[10, 35] == pytest.approx([0, 0, 255], abs=8)


@pytest.mark.parametrize("color", ["#00f", "00f", "0000ff", "0000ffff", "blue"])
def test_ways_to_name_a_colour(half, color):
    assert np.asarray(_post(half, bg_color=color, format="png").image())[10, 35].tolist() == [0, 0, 255, 255]


def test_a_background_picture_covers_the_canvas(half):
    reply = _post(half, format="png", bg_image_file=picture((4, 4), (0, 255, 0)))
    assert np.asarray(reply.image())[10, 35].tolist() == [0, 255, 0, 255]


def test_cropping_leaves_the_subject_and_its_margin(half):
    assert _post(half, crop="true").image().size == (_SUBJECT, 20)
    assert _post(half, crop="true", crop_margin="0px 4px").image().size == (_SUBJECT + 4, 20)
    assert _post(half, crop="true", crop_margin="10%").image().size == (_SUBJECT + 2, 20)


def test_a_region_is_all_that_the_network_sees(half):
    alpha = np.asarray(_post(half, roi="20px 0px 40px 20px").image())[:, :, 3]
    assert not alpha[:, :20].any()
    assert alpha[:, 20:29].all()
    assert not alpha[:, 31:].any()


def test_alpha_alone(half):
    reply = _post(half, channels="alpha")
    assert reply.image().mode == "L"
    assert reply.headers["content-type"] == "image/png"


def test_a_zip_has_colours_and_alpha(half):
    archive = zipfile.ZipFile(io.BytesIO(_post(half, format="zip").body))
    assert archive.namelist() == ["color.jpg", "alpha.png"]
    assert Image.open(io.BytesIO(archive.read("alpha.png"))).mode == "L"


REFUSED = [
    {"type": "person"},
    {"type": "car"},
    {"scale": "50%"},
    {"position": "center"},
    {"add_shadow": "true"},
    {"semitransparency": "false"},
    {"size": "huge"},
    {"format": "gif"},
    {"bg_color": "nothing"},
    {"bg_color": "12345"},
    {"bg_color": "fff", "bg_image_file": picture()},
    {"roi": "1 2 3 4"},
    {"roi": "0px 0px 0px 0px"},
    {"roi": "50% 50% 60%"},
    {"crop": "true", "crop_margin": "60%"},
    {"crop": "true", "crop_margin": "1px 2px 3px"},
    {"crop": "perhaps"},
    {"format": "zip", "channels": "alpha"},
    {"image_file_b64": "abcd"},
    {"image_file_b64": "a"},
    {"unknown": "1"},
]


@pytest.mark.parametrize("fields", REFUSED, ids=str)
def test_what_cannot_be_obeyed_is_refused(half, fields):
    reply = _post(half, **fields)
    assert reply.status == 400
    assert reply.json()["errors"][0]["title"] == reply.json()["detail"]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"size": 1}', b'{"image_file_b64": "!"}', b"[" * 100_000])
def test_json_that_is_no_request_is_refused(half, body):
    assert half.ask("POST", PATH, body, {"Content-Type": "application/json"}).status in (400, 415)


def test_no_picture_is_refused(half):
    assert half.post(PATH, {"size": "auto"}).status == 400


def test_urls_are_refused_where_no_host_is_allowed(half):
    assert half.post(PATH, {"image_url": "http://example.com/a.png"}).status == 403
    assert _post(half, bg_image_url="http://example.com/a.png").status == 403


def test_regions():
    assert region("0% 0% 100% 100%", (40, 20)) == (0, 0, 40, 20)
    assert region("30px 15px 10px 5px", (40, 20)) == (10, 5, 30, 15)
    assert region("0px 0px 999px 999px", (40, 20)) == (0, 0, 40, 20)


def test_margins_are_in_the_order_of_css():
    assert margins("1px 2px 3px 4px", (100, 100)) == (4, 1, 2, 3)
    assert margins("10%", (200, 100)) == (20, 10, 20, 10)
