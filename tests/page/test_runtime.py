"""Where onnxruntime-web comes from."""

import base64
import hashlib
import json
import os
import sys
import tarfile

import pytest
from pictures import ROOT

from u2net.errors import DownloadError
from u2net.page import runtime

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the npm of these tests is a shell script")


def package(folder, *, name="onnxruntime-web", files=runtime._FILES):
    """An unpacked package whose files hold their own names."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name}))
    for each in files:
        (folder / "dist" / each).write_text(each)
    return folder


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm that gives a package, which is taken for the published one."""
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(package(tmp_path / "unpacked"), "package")
    digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    monkeypatch.setattr(runtime, "_INTEGRITY", f"sha512-{digest}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("U2NET_OFFLINE", raising=False)
    (tmp_path / "bin").mkdir()

    def behave(script: str) -> None:
        (tmp_path / "bin/npm").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin/npm").chmod(0o755)

    behave(f'echo "$@" > {tmp_path}/asked; cp {packed} onnxruntime-web.tgz')
    return behave


def test_npm_is_asked_for_the_pinned_version_and_runs_nothing_of_it(npm, tmp_path):
    assert runtime.from_npm() == {name: name.encode() for name in runtime._FILES}
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["pack", "--ignore-scripts", "--silent", f"onnxruntime-web@{runtime.VERSION}"]


def test_another_package_than_the_published_one_is_refused(npm, monkeypatch):
    monkeypatch.setattr(runtime, "_INTEGRITY", "sha512-another")
    with pytest.raises(DownloadError, match="checksum is wrong"):
        runtime.from_npm()


def test_what_npm_says_is_told_in_one_line(npm):
    npm("echo 'npm error code E404' >&2; echo more >&2; exit 1")
    with pytest.raises(DownloadError, match=r"npm error code E404$"):
        runtime.from_npm()


def test_without_npm_and_where_downloads_are_forbidden_a_folder_is_asked_for(npm, monkeypatch):
    monkeypatch.setenv("U2NET_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"U2NET_OFFLINE is set: give --runtime"):
        runtime.from_npm()
    monkeypatch.delenv("U2NET_OFFLINE")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DownloadError, match=r"no npm here: .* --runtime"):
        runtime.from_npm()


def test_the_page_and_the_package_for_npm_have_the_same_runtime():
    locked = json.loads((ROOT / "web/package-lock.json").read_text())["packages"]["node_modules/onnxruntime-web"]
    assert (locked["version"], locked["integrity"]) == (runtime.VERSION, runtime._INTEGRITY)


def test_a_folder_is_taken_as_it_is(tmp_path):
    assert runtime.from_folder(package(tmp_path / "ort")) == {name: name.encode() for name in runtime._FILES}


@pytest.mark.parametrize("wrong", [{"name": "left-pad"}, {"files": ()}])
def test_a_folder_that_holds_something_else_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="onnxruntime-web"):
        runtime.from_folder(package(tmp_path / "other", **wrong))
