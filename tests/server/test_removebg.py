import base64
import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from u2net.server.geometry import margins, region

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


def _shown(reply) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is more seen than not."""
    alpha = reply.image() if reply.image().mode == "L" else reply.image().getchannel("A")
    return alpha.point([255 if value > 127 else 0 for value in range(256)]).getbbox()


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


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}])
def test_json_is_known_by_its_content(half, headers):
    asked = {"image_file_b64": base64.b64encode(_stripes()).decode(), "crop": True}
    reply = half.ask("POST", PATH, json.dumps(asked), headers)
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


PLACES = {
    ("50%", None): (15, 5, 25, 15),  # of 40 × 20, with a subject of 20 × 20
    ("50%", "center"): (15, 5, 25, 15),
    ("50%", "0%"): (0, 0, 10, 10),
    ("50%", "0 100%"): (0, 10, 10, 20),
    ("50%", "100% 0%"): (30, 0, 40, 10),
    ("50%", "original"): (5, 5, 15, 15),
    ("100%", "100%"): (20, 0, 40, 20),
    ("original", "center"): (10, 0, 30, 20),
    ("original", "100% 50%"): (20, 0, 40, 20),
    ("original", "original"): (0, 0, 20, 20),
}


@pytest.mark.parametrize(("scale", "position"), PLACES)
@pytest.mark.parametrize("channels", ["rgba", "alpha"])
def test_the_subject_goes_where_it_is_asked_to(half, scale, position, channels):
    asked = {"scale": scale, "channels": channels} | ({"position": position} if position else {})
    reply = _post(half, **asked)
    assert reply.image().size == (40, 20)
    assert _shown(reply) == pytest.approx(PLACES[scale, position], abs=1)


def test_a_subject_in_its_place_is_cropped_and_put_over_a_background(half):
    reply = _post(half, format="png", scale="50%", crop="true", crop_margin="3px", bg_color="0000ff")
    assert reply.image().size == pytest.approx((16, 16), abs=1)
    assert np.asarray(reply.image())[1, 1].tolist() == [0, 0, 255, 255]
    assert np.asarray(reply.image())[8, 8, :3] == pytest.approx([200, 60, 30], abs=3)


def test_a_small_subject_is_enlarged():
    def corner(batch):
        maps = np.zeros((len(batch), 1, *batch.shape[2:]), dtype=np.float32)
        maps[..., : batch.shape[2] // 4, : batch.shape[3] // 4] = 1
        return maps

    with running(opener(corner)) as place:
        reply = place.post(PATH, {"image_file": picture((80, 80)), "scale": "100%"})
    assert _shown(reply) == pytest.approx((0, 0, 80, 80), abs=4)


def test_nothing_can_be_put_anywhere(half):
    transparent = io.BytesIO()
    Image.new("RGBA", (40, 20)).save(transparent, "PNG")
    reply = half.post(PATH, {"image_file": transparent.getvalue(), "scale": "50%"})
    assert reply.status == 200
    assert reply.image().getchannel("A").getextrema() == (0, 0)


@pytest.mark.parametrize("size", ["full", "preview"])
@pytest.mark.parametrize("format", ["png", "jpg"])
def test_the_resolution_in_print_is_carried_over(half, size, format):  # noqa: A002
    file = io.BytesIO()
    Image.new("RGB", (900, 600), (200, 60, 30)).save(file, "JPEG", dpi=(300, 300))
    reply = half.post(PATH, {"image_file": file.getvalue(), "size": size, "format": format})
    assert reply.image().info["dpi"] == pytest.approx((300, 300), abs=0.1)


# What the published clients send for the examples of their READMEs, and by their own defaults.
_OF_NODE = {"Accept": "application/json", "X-Api-Key": "YOUR-API-KEY"}
_OF_PYTHON = {"type": "auto", "type_level": "none", "format": "auto", "roi": "0 0 100% 100%", "crop": "false"}
_OF_PYTHON |= {"scale": "original", "position": "original", "channels": "rgba", "add_shadow": "false"}
FORMS = {
    "npm, a file": ({"size": "regular", "type": "auto", "scale": "50%"}, _OF_NODE),
    "npm, await": ({"size": "regular", "type": "person", "crop": "true", "scale": "50%"}, _OF_NODE),
    "npm, cropped": ({"size": "regular", "type": "person", "crop": "true"}, _OF_NODE),
    "PyPI": ({"size": "regular", **_OF_PYTHON, "semitransparency": "true"}, {"X-Api-Key": "YOUR-API-KEY"}),
    "Go": ({"size": "auto", "type": "car", "channels": "rgba", "format": "png"}, {"X-Api-Key": "YOUR-API-KEY"}),
    "newer fields": ({"type_level": "2", "shadow_type": "none", "shadow_opacity": "50"}, {}),
}


@pytest.mark.parametrize("client", FORMS)
def test_the_examples_of_clients_are_answered(half, client):
    fields, headers = FORMS[client]
    reply = half.post(PATH, {"image_file": _stripes(), **fields}, **headers)
    assert reply.status == 200
    if "Accept" in headers:
        image = Image.open(io.BytesIO(base64.b64decode(reply.json()["data"]["result_b64"])))
        assert (reply.headers["x-width"], reply.headers["x-height"]) == tuple(map(str, image.size))
    assert reply.headers["x-credits-charged"] == "0"
    assert reply.headers.get("x-type") == {"person": "person", "car": "car"}.get(
        fields.get("type"), None if fields.get("type_level") == "none" else "other"
    )


@pytest.mark.parametrize("fields", [{"size": "regular", "type": "product"}, {"size": "regular"}, {"type_level": 2}])
@pytest.mark.parametrize("source", ["image_file_b64", "image_url"])
def test_the_examples_of_clients_in_json_are_answered(half, monkeypatch, fields, source):
    async def fetched(*_):
        return _stripes()

    monkeypatch.setattr("u2net.server.api.fetch", fetched)
    given = base64.b64encode(_stripes()).decode() if source == "image_file_b64" else "https://domain.tld/path/file.jpg"
    headers = {"Content-Type": "application/json", **_OF_NODE}
    reply = half.ask("POST", PATH, json.dumps({source: given, **fields}), headers)
    assert reply.status == 200
    assert reply.headers["x-type"] == fields.get("type", "other")
    assert reply.json()["data"]["result_b64"]


def test_an_account_never_runs_out():
    key = hashlib.sha256(b"key").hexdigest()
    with running(api_keys=(f"shop:{key}",)) as place:
        assert place.get("/v1.0/account").status == 401
        reply = place.get("/v1.0/account", **{"X-Api-Key": "key"})
    attributes = reply.json()["data"]["attributes"]
    assert set(attributes["credits"]) == {"total", "subscription", "payg", "enterprise"}
    assert attributes["credits"]["total"] == attributes["credits"]["enterprise"] > 0
    assert attributes["api"]["free_calls"] > 0
    assert attributes["api"]["sizes"] == "all"


def test_a_region_in_pixels_is_of_the_picture_that_was_sent(half):
    reply = half.post(PATH, {"image_file": picture((2000, 1000)), "size": "preview", "roi": "1000px 0px 2000px 1000px"})
    width, height = reply.image().size
    assert _shown(reply) == pytest.approx((width / 2, 0, width * 3 / 4, height), abs=3)


def test_alpha_alone(half):
    reply = _post(half, channels="alpha")
    assert reply.image().mode == "L"
    assert reply.headers["content-type"] == "image/png"


def test_a_zip_has_colours_and_alpha(half):
    archive = zipfile.ZipFile(io.BytesIO(_post(half, format="zip").body))
    assert archive.namelist() == ["color.jpg", "alpha.png"]
    assert Image.open(io.BytesIO(archive.read("alpha.png"))).mode == "L"


REFUSED = [
    {"type": "spaceship"},
    {"type_level": "3"},
    {"scale": "5%"},
    {"scale": "101%"},
    {"scale": "50px"},
    {"scale": "50% 50%"},
    {"position": "left"},
    {"position": "10px"},
    {"position": "1% 2% 3%"},
    {"shadow_type": "drop"},
    {"shadow_opacity": "200"},
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
    assert region("0 0 100% 100%", (40, 20)) == (0, 0, 40, 20)
    assert region("30px 15px 10px 5px", (40, 20)) == (10, 5, 30, 15)
    assert region("0px 0px 999px 999px", (40, 20)) == (0, 0, 40, 20)


def test_margins_are_in_the_order_of_css():
    assert margins("1px 2px 3px 4px", (100, 100)) == (4, 1, 2, 3)
    assert margins("10%", (200, 100)) == (20, 10, 20, 10)
