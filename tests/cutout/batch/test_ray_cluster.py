import http.client
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from cli.command import u2net
from needs import in_posix_words, needs_proc, needs_signals

from cutout.batch.folders import write_pictures, write_words
from u2net.cutout.config import CutoutConfig
from u2net.cutout.cutter import Cutter
from u2net.errors import ConfigMismatch

pytest.importorskip("ray", reason="u2net[ray] is not installed")

from u2net.cutout.batch.ray_cluster import Remover, Storage, actor_options, begin, end, open_storage

OPEN = {"RAY_AUTH_MODE": "disabled"}
QUICK = CutoutConfig(runtime="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def cutter() -> Cutter:
    return Cutter(QUICK)


@pytest.fixture
def folders(tmp_path) -> tuple[Storage, Storage]:
    """One with two pictures, and one for what is made of them."""
    write_pictures(tmp_path / "in", 2)
    return open_storage(str(tmp_path / "in")), open_storage(str(tmp_path / "out"))


@pytest.fixture
def store() -> Storage:
    """Folders that lie on no disk."""
    from pyarrow.fs import FileSystem

    system, _ = FileSystem.from_uri("mock:///")
    system.create_dir("shop")
    return Storage(system, "shop")


def test_a_row_of_a_name_becomes_the_file_that_a_cutter_makes(cutter, folders, tmp_path):
    told = Remover(cutter, *folders, overwrite=False)({"name": "0001.png", "target": "deep/er.png"})
    cut = cutter(tmp_path / "in" / "0001.png")
    assert (tmp_path / "out" / "deep" / "er.png").read_bytes() == cut.content
    assert told == {
        "name": "0001.png",
        "target": "deep/er.png",
        "status": "done",
        "reason": "",
        "confidence": cut.confidence,
    }


def test_a_row_of_bytes_is_named_after_its_name(cutter, folders, tmp_path):
    remover = Remover(cutter, *folders, overwrite=False)
    content = (tmp_path / "in" / "0000.png").read_bytes()
    assert [remover({"name": name, "bytes": content})["target"] for name in ("cup", "red/cup.jpg", 7)] == [
        "cup.png",
        "red/cup.jpg.png",
        "7.png",
    ]
    assert (tmp_path / "out/red/cup.jpg.png").read_bytes() == (tmp_path / "out/7.png").read_bytes()


@pytest.mark.parametrize("name", ["", "..", "../cup.jpg", "a/../../cup.jpg", "/tmp/cup.jpg", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(cutter, folders, name):
    told = Remover(cutter, *folders, overwrite=True)({"name": name, "bytes": b""})
    assert (told["status"], told["reason"]) == ("failed", "its name leads out of OUTPUT")


@pytest.mark.parametrize("row", [{"name": "a.png", "bytes": b"no picture"}, {"name": "b.png", "bytes": None}])
def test_bytes_that_are_no_picture_fail_with_a_reason(cutter, folders, row):
    told = Remover(cutter, *folders, overwrite=False)(row)
    assert told["status"] == "failed"
    assert "picture" in told["reason"]


@in_posix_words
def test_a_picture_that_is_gone_fails_with_a_reason(cutter, folders):
    told = Remover(cutter, *folders, overwrite=False)({"name": "gone.png", "target": "gone.png"})
    assert (told["status"], told["reason"]) == ("failed", "No such file or directory")


def test_what_is_there_stays_unless_it_is_to_be_replaced(cutter, folders, tmp_path):
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "0000.png"
    file.write_text("mine")
    row = {"name": "0000.png", "target": "0000.png"}
    assert Remover(cutter, *folders, overwrite=False)(row)["status"] == "skipped"
    assert file.read_text() == "mine"
    assert Remover(cutter, *folders, overwrite=True)(row)["status"] == "done"
    assert file.read_bytes().startswith(b"\x89PNG")


def test_files_of_a_store_appear_whole_and_are_found_again(store):
    store.write("red/cup.jpg", b"first")
    store.write("red/cup.jpg", b"second")
    store.write(".hidden/cup.jpg", b"")
    store.write("notes.txt", b"")
    store.write("out/cup.png", b"")
    assert store.read("red/cup.jpg") == b"second"
    assert (store.holds("red/cup.jpg"), store.holds("blue/cup.jpg")) == (True, False)
    assert store.files(besides=Storage(store.system, "shop/out")) == [Path("notes.txt"), Path("red/cup.jpg")]


def test_places_are_paths_or_addresses_and_may_be_pickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = open_storage("here")
    assert (here.path, here.is_local) == (str(tmp_path / "here"), True)
    there = open_storage("s3://key:secret@bucket/folder/?region=eu-central-1")
    assert (there.path, there.is_local) == ("bucket/folder", False)
    assert pickle.loads(pickle.dumps(there)) == there
    with pytest.raises(ValueError, match="nowhere"):
        open_storage("nowhere://bucket")


def test_another_request_for_the_same_folder_is_refused(store):
    begin(store, {"format": "png"}, overwrite=False)
    begin(store, {"format": "png"}, overwrite=False)
    with pytest.raises(ConfigMismatch, match="format"):
        begin(store, {"format": "webp"}, overwrite=False)
    begin(store, {"format": "webp"}, overwrite=True)
    with pytest.raises(ConfigMismatch, match="cut off"):
        begin(store, {"format": "webp"}, overwrite=False)
    end(store, {"format": "webp"})
    begin(store, {"format": "webp"}, overwrite=False)


@pytest.mark.parametrize(
    ("asked", "resources", "most", "gpus"),
    [
        ({}, {"CPU": 16.0}, 16, 0),
        ({"threads": 3}, {"CPU": 16.0}, 5, 0),
        ({"threads": 3}, {"CPU": 2.0}, 1, 0),
        ({}, {"CPU": 16.0, "GPU": 4.0}, 4, 1),
        ({"runtime": "openvino"}, {"CPU": 16.0, "GPU": 4.0}, 16, 0),
    ],
)
def test_actors_take_what_the_cluster_has(monkeypatch, asked, resources, most, gpus):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    options = actor_options(CutoutConfig(**asked), None, resources)
    assert (options["concurrency"], options["num_gpus"]) == ((1, most), gpus)
    assert actor_options(CutoutConfig(**asked), 40, resources)["concurrency"] == (1, 40)


def test_gpus_are_left_alone_where_the_runtime_is_built_without_them(monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert actor_options(CutoutConfig(), None, {"CPU": 16.0, "GPU": 4.0})["num_gpus"] == 0


@pytest.mark.slow
def test_parquet_files_are_done_here_and_leave_nothing_behind(tmp_path):
    import pyarrow
    from pyarrow import parquet

    paths = write_pictures(tmp_path / "in", 12)
    names = [path.name for path in paths] + ["../away.png", "broken.png"]
    contents = [path.read_bytes() for path in paths] + [paths[0].read_bytes(), b"no picture"]
    (tmp_path / "rows").mkdir()
    parquet.write_table(pyarrow.table({"name": names, "bytes": contents}), tmp_path / "rows" / "part-0.parquet")
    before = set(Path("/tmp").glob("ray*"))
    result = _by_ray(tmp_path / "rows", tmp_path / "out", "--strict")
    assert result.returncode == 1
    assert result.stdout.decode() == "12 done, 0 skipped, 2 failed\n"
    assert len(result.stderr.splitlines()) == 2
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {f"{path.name}.png" for path in paths}
    assert set(Path("/tmp").glob("ray*")) == before


@pytest.mark.slow
@needs_proc
def test_when_one_of_two_nodes_is_killed_everything_is_made_once_and_as_by_the_pool(tmp_path):
    paths = write_pictures(tmp_path / "in", 160)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    options = ("--runtime", "onnxruntime", "--json")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True))
        address = f"127.0.0.1:{_free_port()}"
        head = _node(stack, "--head", f"--port={address[10:]}", f"--temp-dir={folder}", "--include-dashboard=false")
        _until(lambda: _answers(address))
        other = _node(stack, f"--address={address}")
        _until(lambda: any("raylet" in line for line in _processes_of(other).values()))
        command = [sys.executable, "-m", "u2net", "remove", tmp_path / "in", tmp_path / "ray", "--engine=ray", *options]
        environment = os.environ | OPEN | {"RAY_ADDRESS": address}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
            _until(lambda: run.poll() is not None or all(map(_is_at_work, (head, other))))
            _until(lambda: run.poll() is not None or 10 < len(list((tmp_path / "ray").glob("*.png"))) < 120)
            assert run.poll() is None, "ended before a node could be killed"
            _kill(other)
            stdout, stderr = run.communicate(timeout=200)
    assert run.returncode == 0, stderr
    rows = json.loads(stdout)["pictures"]
    assert Counter(row["source"] for row in rows) == Counter([path.name for path in paths] + ["broken.jpg"])
    assert [row["source"] for row in rows if row["status"] == "failed"] == ["broken.jpg"]
    assert u2net("remove", tmp_path / "in", tmp_path / "pool", *options).returncode == 0
    assert _contents(tmp_path / "ray") == _contents(tmp_path / "pool")
    assert not list((tmp_path / "ray").glob(".*"))


@pytest.mark.slow
@needs_signals
def test_a_picture_that_kills_its_process_has_failed_and_the_others_are_done(tmp_path):
    words = {f"fine{i:02}": "whatever" for i in range(20)}
    write_words(tmp_path / "in", **words, bad="kill", once=f"kill-once {tmp_path / 'mark'}")
    script = """if True:
        import sys
        from pathlib import Path
        from cutout.batch.folders import QuickCutter
        from u2net.cutout.batch.ray_cluster import cut_out_by_ray
        from u2net.cutout.batch.ray_cluster import open_storage
        told = cut_out_by_ray(*map(open_storage, sys.argv[1:3]), QuickCutter(), overwrite=False, workers=2)
        lines = sorted(f"{one.source.stem} {one.status} {one.reason}" for one in told)
        Path(sys.argv[3]).write_text("\\n".join(lines))"""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = os.pathsep.join([*sys.path, environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", script, tmp_path / "in", tmp_path / "out", tmp_path / "told"]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    told = (tmp_path / "told").read_text().splitlines()
    assert told[0] == "bad failed the process that worked on it died 3 times"
    assert [line.split()[0] for line in told[1:]] == [*words, "once"]
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {*words, "once"}


@pytest.mark.slow
@needs_proc
def test_ctrl_c_is_one_line_and_leaves_no_process_and_the_same_command_goes_on(tmp_path):
    write_pictures(tmp_path / "in", 100)
    mark = f"RUN={tmp_path}"
    command = [sys.executable, "-m", "u2net", "remove", tmp_path / "in", tmp_path / "out", "--engine=ray"]
    command += ["--runtime", "onnxruntime"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"RUN": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as run:
        _until(lambda: run.poll() is not None or len(list((tmp_path / "out").glob("*.png"))) > 10)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal sends it to all of its processes
        stdout, stderr = run.communicate(timeout=100)
    assert (run.returncode, stderr) == (130, b"u2net: interrupted; give the same command again to continue\n")
    assert stdout.endswith(b" skipped, 0 failed\n")
    assert _processes(mark) == {}
    num = len(list((tmp_path / "out").glob("*.png")))
    assert num < 100
    result = _by_ray(tmp_path / "in", tmp_path / "out")
    assert result.stdout.decode() == f"{100 - num} done, {num} skipped, 0 failed\n"


@pytest.mark.slow
def test_an_object_store_is_read_and_written_and_gone_on_with(cutter, tmp_path):
    program = os.environ.get("MOTO_SERVER")
    if program is None:
        pytest.skip("MOTO_SERVER does not name the moto_server of pip install 'moto[server]>=5.2.5'")
    paths = write_pictures(tmp_path / "in", 12)
    port = _free_port()
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
    with subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _until(lambda: _answers(f"127.0.0.1:{port}"))
            _ask(port, "PUT", "/bucket", b"")
            for path in paths:
                _ask(port, "PUT", f"/bucket/shop/red/{path.name}", path.read_bytes())
            runs = [
                (f"?endpoint_override=127.0.0.1:{port}&scheme=http", {}, b"12 done, 0 skipped, 0 failed\n"),
                ("", {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}, b"0 done, 12 skipped, 0 failed\n"),
            ]
            for behind, more, told in runs:
                result = _by_ray(f"s3://bucket/shop{behind}", f"s3://bucket/out{behind}", **keys, **more)
                assert (result.stdout, result.stderr) == (told, b"")
            made = {path.name: _ask(port, "GET", f"/bucket/out/red/{path.stem}.png") for path in paths}
        finally:
            server.kill()
    assert made == {path.name: cutter(path).content for path in paths}


def _ask(port: int, method: str, path: str, content: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, content)
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.read()


def _by_ray(source: str | Path, output: str | Path, *options: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | more
    return u2net("remove", source, output, "--engine", "ray", "--runtime", "onnxruntime", *options, env=environment)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def _node(stack: ExitStack, *options: str) -> subprocess.Popen:
    """A node with one processor, in processes of its own."""
    command = [Path(sys.executable).with_name("ray"), "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    mark = f"--dashboard-agent-listen-port={_free_port()}"
    command += ["--object-store-memory=100000000", mark, *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    node = stack.enter_context(subprocess.Popen(command, env=os.environ | OPEN | {"NODE": mark}, **quiet))
    stack.callback(_kill, node)
    return node


def _kill(node: subprocess.Popen) -> None:
    """As a power cut would, so that nothing of it can say goodbye."""
    for pid in (*_processes_of(node), node.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    node.wait()


def _processes_of(node: subprocess.Popen) -> dict[int, str]:
    """Those that a node has, and what they call themselves."""
    found = _processes("NODE=" + next(one for one in node.args if "agent-listen-port" in str(one)))
    found.pop(node.pid, None)
    return found


def _processes(mark: str) -> dict[int, str]:
    """Those with a variable in their environment, whoever started them, and what they call themselves."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{mark}\0".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
    return found


def _is_at_work(node: subprocess.Popen) -> bool:
    return any("Remover" in line for line in _processes_of(node).values())


def _until(is_so) -> None:
    end = time.monotonic() + 200
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _answers(address: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(address[10:]))) == 0
