"""What bodies may cost, whichever way they are written."""

import asyncio
import base64
import json
from pathlib import Path

import pytest
from needs import needs_proc

from u2net.server import forms

from .running import picture, running

PATH = "/v1.0/removebg"
JSON = {"Content-Type": "application/json"}
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=a"}
PART = b'--a\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
NUM = 1_000_000
IN_BASE64 = base64.b64encode(picture())

# Each is a body of some megabytes, with why it is refused.
HOSTILE = {
    "JSON of names that nobody knows": (lambda: json.dumps(dict.fromkeys(map(str, range(NUM // 4)))), JSON, "unknown"),
    "JSON of one name over and over": (lambda: b"{" + b'"roi":null,' * NUM + b'"roi":""}', JSON, "twice"),
    "JSON of a name without an end": (lambda: b'{"' + b"k" * 4 * NUM, JSON, "no JSON"),
    "JSON in lists": (lambda: b'{"roi":' + b"[" * 4 * NUM, JSON, "no JSON"),
    "JSON in objects": (lambda: b'{"roi":' * NUM, JSON, "no JSON"),
    "JSON of a number": (lambda: b'{"roi":' + b"1" * 4 * NUM + b"}", JSON, "no JSON"),
    "JSON of blanks": (lambda: b"{" + b" " * 4 * NUM, JSON, "no JSON"),
    "JSON of escapes": (lambda: b'{"image_file_b64":"' + b"\\u0041" * NUM + b'"}', JSON, "cannot be read"),
    "JSON of a long field": (lambda: b'{"roi":"' + b"1px " * NUM + b'"}', JSON, "roi is longer"),
    "JSON without a type": (lambda: b'{"roi":"' + b"1px " * NUM + b'"}', {}, "roi is longer"),
    "urlencoded escapes": (lambda: b"image_file_b64=" + b"%41" * NUM, URLENCODED, "cannot be read"),
    "an urlencoded long field": (lambda: b"roi=" + b"%41" * NUM, URLENCODED, "roi is longer"),
    "urlencoded names": (lambda: b"a=b&" * NUM, URLENCODED, "too many fields"),
    "an urlencoded long name": (lambda: b"k" * 4 * NUM + b"=1", URLENCODED, "a field is unknown"),
    "urlencoded nothing": (lambda: b"&" * 4 * NUM, URLENCODED, "too many fields"),
    "a part's headers": (lambda: b"--a\r\n" + b"X: h\r\n" * NUM, MULTIPART, "broken"),
    "a part's header": (lambda: b"--a\r\nX: " + b"h" * 4 * NUM, MULTIPART, "broken"),
    "a long field in a part": (lambda: PART % b"roi" + b"1px " * NUM, MULTIPART, "roi is longer"),
    "a boundary past reason": (lambda: b"x", {"Content-Type": f"multipart/form-data; boundary={'a' * 999}"}, "broken"),
}


@pytest.fixture(scope="module")
def service():
    with running() as place:
        yield place


def _peak():
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")) / 1024


@needs_proc
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_body_is_refused_in_words_and_costs_no_more_memory_than_some_copies(service, case):
    make, headers, why = HOSTILE[case]
    body = make()
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    reply = service.ask("POST", PATH, body, headers)
    assert reply.status == 400
    assert why in reply.json()["detail"]
    assert _peak() - before < 40


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("prefix", [b"", b"data:image/png;base64,"])
def test_base64_may_be_escaped_as_clients_escape_it(service, prefix, escaped):
    text = prefix + IN_BASE64[:20] + b"\r\n\t " + IN_BASE64[20:]
    in_json = text.replace(b"\r\n\t", b"\\r\\n\\t")
    if escaped:
        in_json = in_json.replace(b"/", b"\\/").replace(b"+", b"\\u002B").replace(b"=", b"\\u003d")
    in_url = b"".join(b"%%%02X" % sign if escaped and not chr(sign).isalnum() else b"%c" % sign for sign in text)
    in_url = in_url.replace(b"+", b"%2b").replace(b" ", b"%20")
    assert service.ask("POST", PATH, b'{"image_file_b64": "%s"}' % in_json, JSON).status == 200
    assert service.ask("POST", PATH, b"image_file_b64=" + in_url, URLENCODED).status == 200


@pytest.mark.parametrize("shift", range(7))
def test_escapes_are_not_cut_where_long_ones_are_read_part_by_part(shift):
    text = b"A" * shift + b"\\/\\u002B" * 40_000
    assert forms._unescaped(text, b"\\", forms._JSON_ESCAPES) == b"A" * shift + b"/+" * 40_000


def test_json_may_have_signs_that_are_escaped_numbers_truths_and_nothing(service):
    fields = b'"bg_color": "\\u0066ff", "crop": true, "shadow_opacity": 5e1, "roi": null, "position": ""'
    body = b'\xef\xbb\xbf {\n  "image_file_b64" : "%s",\n %s } \n' % (IN_BASE64, fields)
    assert service.ask("POST", PATH, body, JSON).status == 200


@pytest.mark.parametrize("field", [b'"bg_color": "\\ud800"', b'"bg_color": "\xff"', b'"crop": True', b'"crop": -.e'])
def test_json_that_is_none_is_refused(service, field):
    reply = service.ask("POST", PATH, b'{"image_file_b64": "%s", %s}' % (IN_BASE64, field), JSON)
    assert reply.status == 400


@pytest.mark.parametrize(("body", "headers"), [(b"{}", JSON), (b"a=b", URLENCODED), (b"", MULTIPART), (picture(), {})])
def test_no_body_is_read_on_the_event_loop(service, monkeypatch, body, headers):
    on_loop, read = [], forms._read

    def remember(*given):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            on_loop.append(False)
        else:
            on_loop.append(True)
        return read(*given)

    monkeypatch.setattr(forms, "_read", remember)
    service.ask("POST", PATH, body, headers)
    assert on_loop == [False]
