import numpy as np
import pytest
from PIL import Image

from u2net import remove
from u2net.models import DEFAULT

from .running import opener, picture, running


@pytest.fixture(scope="module")
def real(packaged):
    """A service with the default model."""
    with running(opener(packaged.backend, packaged.card), max_batch=1) as real:
        yield real


def test_a_cut_out_comes_back_as_png_of_the_pictures_size(place):
    reply = place.post("/api/remove", {"file": picture((8, 6))})
    assert reply.status == 200
    assert reply.headers["content-type"] == "image/png"
    assert reply.image().mode == "RGBA"
    assert reply.image().size == (8, 6)


def test_the_cut_out_is_what_remove_gives(real, packaged, photograph):
    data = photograph.read_bytes()
    reply = real.post("/api/remove", {"file": data, "ppm": "true", "bgc": "10,20,30,255"})
    assert reply.body == remove(data, session=packaged, post_process_mask=True, bgcolor=(10, 20, 30, 255))


def test_a_picture_may_be_the_body_itself(place):
    reply = place.ask("POST", "/api/remove?om=true", picture(), {"Content-Type": "image/png"})
    assert reply.image().mode == "L"


def test_parameters_may_come_in_the_query(place):
    reply = place.post("/api/remove?om=1", {"file": picture((5, 4))})
    assert np.array_equal(np.asarray(reply.image()), np.full((4, 5), 255))


def test_clients_of_rembg_may_send_all_their_defaults(place):
    fields = {"model": DEFAULT, "a": "false", "af": "240", "ab": "10", "ae": "10", "om": "false", "ppm": "false"}
    reply = place.post("/api/remove?bgc=0,0,0,0", {"file": picture(), **fields, "dc": "false", "vm": "false"})
    assert reply.status == 200


@pytest.mark.parametrize("path", ["/api/remove?om=true", "/api/mask"])
@pytest.mark.parametrize("quality", ["coarse", "fast", "balanced", "best"])
def test_outlines_are_of_the_quality_that_is_asked_for(photograph, real, packaged, path, quality):
    expected = remove(photograph, session=packaged, only_mask=True, quality=quality)
    reply = real.post(path, {"file": photograph.read_bytes(), "quality": quality})
    assert np.array_equal(np.asarray(reply.image()), np.asarray(expected))


def test_old_backgrounds_are_taken_out_of_colours(photograph, real, packaged):
    expected = remove(photograph, session=packaged, decontaminate=True)
    reply = real.post("/api/remove", {"file": photograph.read_bytes(), "dc": "true"})
    assert np.array_equal(np.asarray(reply.image()), np.asarray(expected))


def test_alpha_matting_is_rembgs_by_its_parameters(photograph, real, packaged):
    thresholds = {"foreground_threshold": 230, "background_threshold": 20, "erode_size": 5}
    asked = {f"alpha_matting_{name}": value for name, value in thresholds.items()}
    expected = remove(photograph, session=packaged, alpha_matting=True, **asked)
    fields = {"a": "true", "af": "230", "ab": "20", "ae": "5"}
    reply = real.post("/api/remove", {"file": photograph.read_bytes(), **fields})
    assert np.array_equal(np.asarray(reply.image()), np.asarray(expected))


def test_alpha_matting_of_too_large_a_picture_is_refused_in_words():
    with running(max_matting_pixels=100) as place:
        assert place.post("/api/remove", {"file": picture((10, 10)), "a": "true"}).status == 200
        reply = place.post("/api/remove", {"file": picture((101, 1)), "a": "true"})
    assert reply.status == 422
    assert "100 pixels" in reply.json()["detail"]


def test_a_mask_is_grey(place):
    reply = place.post("/api/mask", {"file": picture()})
    assert reply.status == 200
    assert reply.image().mode == "L"


@pytest.mark.parametrize(("name", "kind"), [("png", "PNG"), ("webp", "WEBP"), ("jpg", "JPEG")])
def test_the_format_is_as_asked(place, name, kind):
    reply = place.post("/api/remove", {"file": picture(), "format": name})
    assert reply.image().format == kind
    assert reply.headers["content-type"] == Image.MIME[kind]


def test_an_empty_field_is_as_none(place):
    assert place.post("/api/remove", {"file": picture(), "model": "", "bgc": ""}).status == 200


def test_stages_are_told_to_the_client(place):
    timing = place.post("/api/remove", {"file": picture()}).headers["server-timing"]
    assert {part.partition(";")[0] for part in timing.split(", ")} == {"wait", "decode", "network", "encode"}


REFUSED = {
    "an unknown model": ({"model": "xxu2net"}, 400),
    "a model by its path": ({"model": "../u2netp.onnx"}, 400),
    "a colour of letters": ({"bgc": "abc"}, 400),
    "a colour of three": ({"bgc": "1,2,3"}, 400),
    "a colour too bright": ({"bgc": "1,2,3,256"}, 400),
    "erosion past reason": ({"ae": "256"}, 400),
    "a threshold that is no number": ({"af": "x"}, 400),
    "extras": ({"extras": '{"session": 1}'}, 400),
    "a format that is none": ({"format": "bmp"}, 400),
    "ViTMatte": ({"vm": "true"}, 400),
    "two ways to decide the outline": ({"a": "true", "quality": "best"}, 400),
    "a quality that is none": ({"quality": "ultra"}, 400),
    "JPEG that is to be transparent": ({"format": "jpg", "bgc": "1,2,3,4"}, 400),
    "a field that is not UTF-8": ({"model": "\udcff"}, 400),
    "a long field": ({"model": "x" * 2000}, 400),
}


@pytest.mark.parametrize("case", REFUSED)
def test_parameters_that_make_no_sense_are_refused(place, case):
    fields, status = REFUSED[case]
    fields = {name: value.encode("utf-8", "surrogateescape") for name, value in fields.items()}
    reply = place.post("/api/remove", {"file": picture(), **fields})
    assert reply.status == status


BODIES = {
    "no body": (b"", {}, 415),
    "JSON": (b"{}", {"Content-Type": "application/json"}, 415),
    "an empty picture": (b"", {"Content-Type": "image/png"}, 400),
    "multipart without a boundary": (b"x", {"Content-Type": "multipart/form-data"}, 415),
    "multipart that is broken": (b"nothing", {"Content-Type": "multipart/form-data; boundary=a"}, 400),
    "multipart that ends too early": (
        b'--a\r\nContent-Disposition: form-data; name="file"\r\n\r\nx',
        {"Content-Type": "multipart/form-data; boundary=a"},
        400,
    ),
    "a part without a name": (b"--a\r\n\r\nx\r\n--a--\r\n", {"Content-Type": "multipart/form-data; boundary=a"}, 400),
    "text": (b"hello", {"Content-Type": "image/png"}, 415),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {"Content-Type": "image/svg+xml"}, 415),
    "a picture cut short": (picture((64, 64))[:60], {"Content-Type": "image/png"}, 422),
}


@pytest.mark.parametrize("case", BODIES)
def test_bodies_that_are_no_picture_are_refused(place, case):
    body, headers, status = BODIES[case]
    assert place.ask("POST", "/api/remove", body, headers).status == status


def test_no_part_may_stand_twice(place):
    reply = place.post("/api/remove", [("file", picture())] * 5)
    assert reply.status == 400
    assert "twice" in reply.json()["detail"]


def test_a_parameter_may_not_stand_in_the_query_and_the_form(place):
    assert place.post("/api/remove?om=true", {"file": picture(), "om": "false"}).status == 400


def test_fetching_is_off_by_default(place):
    assert place.get("/api/remove?url=http://example.com/a.png").status == 405


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/api/remove", 405)])
def test_what_does_not_exist_is_404_or_405(place, method, path, status):
    reply = place.ask(method, path)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
