import json
import logging
import signal
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from u2net import __version__
from u2net.models import DEFAULT
from u2net.models.table import MODELS
from u2net.server.monitoring import Calm, JsonFormatter

from .running import everything, opener, picture, running


def test_it_is_alive_and_ready(place):
    assert place.get("/healthz").json() == {"status": "alive"}
    assert place.get("/readyz").json() == {"status": "ready"}


def test_the_version(place):
    version = place.get("/version").json()
    assert version["version"] == __version__
    assert version["models"] == [DEFAULT]
    assert version["purposes"] == {DEFAULT: MODELS[DEFAULT].purpose}


def test_figures_can_be_read_by_prometheus(place):
    place.post("/api/remove", {"file": picture()})
    families = {family.name: family for family in text_string_to_metric_families(place.get("/metrics").body.decode())}
    assert {
        "u2net_requests",
        "u2net_request_seconds",
        "u2net_requests_in_flight",
        "u2net_pictures",
        "u2net_batch_size",
        "u2net_stage_seconds",
        "u2net_loop_lag_seconds",
        "u2net_model_info",
    } <= set(families)
    counted = {(s.labels["route"], s.labels["code"]) for s in families["u2net_requests"].samples}
    assert ("/api/remove", "200") in counted


def test_paths_that_do_not_exist_make_no_labels(place):
    place.get("/secret/1")
    place.get("/secret/2")
    assert b"secret" not in place.get("/metrics").body


def test_openapi_describes_every_endpoint(place):
    document = place.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        *("/api/remove", "/api/mask", "/v1.0/removebg", "/v1.0/account", "/healthz", "/readyz", "/metrics", "/version"),
    }
    form = document["paths"]["/api/remove"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["model"]["enum"] == [DEFAULT]
    assert form["required"] == ["file"]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/api"])
def test_no_page_loads_scripts_from_elsewhere(place, path):
    assert place.get(path).status == 404


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/api/remove"])
def test_every_answer_has_safe_headers(place, path):
    headers = place.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers
    assert headers["x-request-id"]


def test_cross_origin_requests_get_no_leave(place):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    reply = place.ask("OPTIONS", "/api/remove", headers=asked)
    assert "access-control-allow-origin" not in reply.headers


def test_a_problem_is_a_document_with_the_requests_id(place):
    reply = place.post("/api/remove", {"file": b"hello"}, **{"X-Request-ID": "mine-1"})
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-request-id"] == "mine-1"
    assert reply.json() == {
        "type": "about:blank",
        "title": "Unsupported Media Type",
        "status": 415,
        "detail": "not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC or PNM picture",
        "request_id": "mine-1",
    }


def test_an_id_that_could_harm_logs_is_replaced(place):
    assert place.get("/healthz", **{"X-Request-ID": "a b<script>"}).headers["x-request-id"].isalnum()


def test_a_network_that_fails_is_503_and_the_service_lives():
    fails = [False]

    def network(batch):
        if fails[0]:
            raise MemoryError
        return everything(batch)

    with running(opener(network)) as place:
        fails[0] = True
        assert place.post("/api/remove", {"file": picture()}).status == 503
        fails[0] = False
        assert place.post("/api/remove", {"file": picture()}).status == 200


def test_a_fault_of_the_service_is_500_without_its_reasons(caplog):
    def network(batch):
        if batch.any():
            raise RuntimeError("/secret/path")
        return everything(batch)

    with running(opener(network)) as place:
        reply = place.post("/api/remove", {"file": picture()}, **{"X-Request-ID": "mine-2"})
    assert reply.status == 500
    assert b"secret" not in reply.body
    logged = next(record for record in caplog.records if record.exc_info)
    assert logged.facts["request_id"] == "mine-2"


def test_the_first_32_requests_build_one_session():
    built = []

    def open_model(name, *, runtime, threads):
        built.append(name)
        return opener()(name, runtime=runtime, threads=threads)

    with running(open_model) as place:
        threads = [threading.Thread(target=place.post, args=("/api/remove", {"file": picture()})) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert built == [DEFAULT]


def test_a_service_about_to_end_refuses_work_and_still_tells_of_itself():
    with running(drain_delay_s=60.0) as place:
        place.server.handle_exit(signal.SIGTERM, None)
        statuses = [place.get(path).status for path in ("/healthz", "/readyz", "/metrics")]
        reply = place.post("/api/remove", {"file": picture()})
    assert statuses == [200, 503, 200]
    assert reply.status == 503
    assert "retry-after" in reply.headers


def test_a_request_is_one_line_of_json(place, caplog):
    caplog.set_level(logging.INFO, "u2net.server")
    place.post("/api/remove?om=true", {"file": picture()}, **{"X-Request-ID": "mine-3"})
    while not (found := [r for r in caplog.records if getattr(r, "facts", {}).get("request_id") == "mine-3"]):
        pass
    line = json.loads(JsonFormatter().format(found[0]))
    assert line["path"] == "/api/remove"
    assert line["status"] == 200
    assert set(line["stages_ms"]) == {"wait", "decode", "network", "encode"}
    assert line["bytes"] > 0


@pytest.mark.parametrize("path", ["/main.js/", "/healthz/", "/api/remove/", "/openapi.json/", "//other.example/"])
def test_no_path_leads_elsewhere(place, path):
    reply = place.get(path, Host="other.example")
    assert reply.status == 404
    assert "location" not in reply.headers
    assert reply.json()["status"] == 404


@pytest.mark.parametrize("asked", ["bytes=abc", "bytes=999999999-", "bytes=0-1,4-5"])
def test_a_file_of_the_page_comes_whole(place, asked):
    reply = place.get("/main.js", Range=asked)
    assert reply.status == 200
    assert reply.body == place.get("/main.js").body


def test_no_character_of_a_request_breaks_or_moves_a_line_of_the_log():
    evil = "a\x9b31m\u2028b\u2029\x85\x1b[2J\n\u202e\udc9b"
    record = logging.LogRecord("u2net.server", logging.INFO, "", 0, "request", None, None)
    record.facts = {"path": evil}
    line = JsonFormatter().format(record)
    assert line.isprintable()
    assert json.loads(line)["path"] == evil


def _record(name, message):
    return logging.LogRecord(name, logging.ERROR, "", 0, message, None, None)


def test_a_library_says_the_same_once_a_second():
    calm = Calm()
    flood = [_record("asyncio", f"out of system resource\nsocket {number}") for number in range(1000)]
    for record in flood:
        record.created = 7.0
    assert sum(map(calm.filter, flood)) == 1
    flood[0].created = 8.0
    assert calm.filter(flood[0])
    assert calm.filter(_record("asyncio", "something else"))
    assert sum(calm.filter(_record("asyncio", f"{number}")) for number in range(1000)) == 1000
    assert len(calm._last) < 200


def test_each_request_has_its_line():
    calm = Calm()
    assert all(calm.filter(_record("u2net.server", "request")) for _ in range(10))
