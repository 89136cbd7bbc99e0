"""Nothing leaves the machine, and nothing is written beside the caches, whichever way the package is used."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from pictures import PHOTOGRAPH
from sealed import can_seal

SEALED = str(Path(__file__).with_name("sealed.py"))
pytestmark = pytest.mark.skipif(not can_seal(), reason="only Linux can forbid a process its sockets")

LIBRARY = """
import sys, time
from u2net import new_session, remove
remove(sys.argv[1], session=new_session(runtime=sys.argv[2]))
time.sleep(1)  # what reports does so beside the work
"""
POOL = """
import signal, sys
from u2net.cutout.batch.plan import Task
from u2net.cutout.batch.pool import Pool
from u2net.cutout.config import CutoutConfig
from u2net.cutout.cutter import Cutter
from pathlib import Path
if __name__ == "__main__":
    with Pool(Cutter(CutoutConfig(quality="coarse")), 1) as pool:
        (outcome,) = pool.run([Task(Path(sys.argv[1]), Path("out.png"))])
    assert outcome.status == "done", outcome
"""


@pytest.fixture
def home(tmp_path):
    """A home folder of its own, with a folder for temporary files and one to work in."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "work").mkdir()
    return tmp_path


def _environment(home):
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("XDG_", "U2NET_", "ORT_", "RAY_", "COV_"))}
    return kept | {"HOME": str(home), "TMPDIR": str(home / "tmp")}


def _run(home, *arguments):
    command = [sys.executable, SEALED, "none", *arguments]
    done = subprocess.run(command, cwd=home / "work", env=_environment(home), capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)


def _written(home):
    """What was written outside of our own caches and the folder to work in."""
    files = {str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir()}
    return {name for name in files if not re.match(r"work/|\.cache/u2net/", name)}


def test_the_seal_kills_who_asks_for_a_host(home):
    command = [sys.executable, SEALED, "listen", "-c", "import socket; socket.getaddrinfo('a.invalid', 80)"]
    assert subprocess.run(command, env=_environment(home)).returncode == -signal.SIGSYS
    command = [sys.executable, SEALED, "none", "-c", "import socket; socket.socket()"]
    assert subprocess.run(command, env=_environment(home)).returncode == -signal.SIGSYS


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_library(home, runtime):
    pytest.importorskip(runtime)
    _run(home, "-c", LIBRARY, str(PHOTOGRAPH), runtime)
    assert not _written(home)


def test_the_command(home):
    _run(home, "-m", "u2net", "remove", str(PHOTOGRAPH), "cup.png")
    assert not _written(home)


def test_processes_of_a_folder(home):
    (home / "work/pool.py").write_text(POOL)
    _run(home, "pool.py", str(PHOTOGRAPH))
    assert not _written(home)


def test_the_service(home):
    if not find_spec("uvicorn"):
        pytest.skip("needs the extra serve")
    arguments = ["-m", "u2net", "serve", "--port", "0", "--workers", "2", "--drain-delay-s", "0"]
    with subprocess.Popen(
        [sys.executable, SEALED, "listen", *arguments],
        cwd=home / "work",
        env=_environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as service:
        lines = []
        for line in service.stdout:
            lines.append(line)
            if port := re.search(r'"port": (\d+)', line):
                break
        assert port, lines
        ask = urllib.request.Request(f"http://127.0.0.1:{port[1]}/api/remove", PHOTOGRAPH.read_bytes(), method="POST")
        ask.add_header("Content-Type", "image/jpeg")
        try:
            with urllib.request.urlopen(ask) as answer:
                assert answer.status == 200
        except urllib.error.HTTPError as error:
            pytest.fail(error.read().decode())
        service.terminate()
        lines += service.stdout.readlines()
    assert service.returncode == 0
    assert "SIGSYS" not in "".join(lines)
    assert not _written(home)


def test_what_the_user_set_is_kept(home):
    code = "import os, u2net; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = _environment(home) | {"ORT_DISABLE_TELEMETRY": "0"}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "0\n"
