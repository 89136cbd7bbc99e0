"""What docs/http.md and deploy/ say is true."""

import os
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
from needs import needs_shell
from pictures import PHOTOGRAPH, ROOT

from u2net.server import ServerConfig

from .running import running

PAGE = (ROOT / "docs/http.md").read_text()


def _shell() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@needs_shell
def test_the_curl_lines_of_the_page_get_what_they_ask_for(tmp_path):
    shutil.copy(PHOTOGRAPH, tmp_path / "photo.jpg")
    lines = [line for line in _shell() if line.startswith("curl ")]
    assert len(lines) >= 6
    with running() as place:
        for line in lines:
            command = line.replace("localhost:7000", f"127.0.0.1:{place.port}").replace("curl ", "curl -sS --fail ", 1)
            subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    pictures = {"cut-out.png", "finest.png", "on-white.webp", "mask.png", "cropped.png"}
    assert written == {"photo.jpg", "page.html", "metrics.txt", "version.json", "openapi.json"} | pictures


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@needs_shell
def test_the_lines_about_keys_make_one_that_is_accepted(tmp_path):
    lines = [line for line in _shell() if not line.startswith("curl ")]
    subprocess.run("\n".join([*lines, 'printf %s "$key" > key']), shell=True, check=True, cwd=tmp_path)
    with running(api_keys_file=str(tmp_path / "keys.txt")) as place:
        key = (tmp_path / "key").read_text()
        statuses = [place.ask("POST", "/api/remove", headers={"X-Api-Key": sent}).status for sent in (key, "other")]
    assert statuses == [415, 401]


def test_every_limit_on_the_page_is_a_setting():
    names = {field.name for field in fields(ServerConfig)}
    limits = PAGE.partition("## Limits")[2].partition("## Models")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", limits, re.MULTILINE)
    told = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert told
    assert told <= names


@pytest.mark.parametrize("path", sorted((ROOT / "deploy").iterdir()), ids=lambda path: path.name)
def test_every_variable_that_deploy_sets_is_a_setting(path: Path):
    named = dict.fromkeys(re.findall(r"\bU2NET_SERVE_\w+", path.read_text()), "1")
    known = {f"U2NET_SERVE_{field.name.upper()}" for field in fields(ServerConfig)}
    assert set(named) <= known


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_images_are_not_root_and_ask_after_their_health(name):
    text = (ROOT / "deploy" / name).read_text()
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 65532", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "/healthz" in last
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE)[0] == "${BASE}"  # which may be given by its digest


def test_nothing_is_served_to_strangers_by_the_compose_file():
    text = (ROOT / "deploy/compose.yaml").read_text()
    assert '"127.0.0.1:7000:7000"' in text
    assert "read_only: true" in text
    assert "ALL" in os.linesep.join(line for line in text.splitlines() if "cap_drop" in line)


def test_full_queues_take_no_pod_out_at_once():
    text = (ROOT / "deploy/kubernetes.yaml").read_text()
    probe = text.partition("readinessProbe:")[2].partition("livenessProbe:")[0]
    seconds = [int(re.search(rf"{name}: (\d+)", probe)[1]) for name in ("periodSeconds", "failureThreshold")]
    assert seconds[0] * seconds[1] >= ServerConfig().timeout_s
    assert ":latest" not in text
    assert "optional: true" not in text  # without its keys a pod must not serve everyone
