"""The page without a service, as files of a simple host, in a real browser."""

import io
import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from pictures import PHOTOGRAPH, ROOT, photo, saved
from PIL import Image
from server.browser import brush, chromium, downloaded, drop, wait_for

from u2net.cutout.remove import remove
from u2net.models.zoo import WEIGHTS
from u2net.page import page_files
from u2net.page.runtime import from_folder
from u2net.page.site import POLICY, write_site

from .engine import hosted

MODEL = (WEIGHTS / "u2netp_distilled.onnx").read_bytes()
NO_RUNTIME = {"ort.wasm.min.mjs": b"export const InferenceSession = {}, Tensor = {};"}


@pytest.fixture(scope="module")
def runtime():
    """The files of onnxruntime-web, which no Python package brings."""
    folder = Path(os.environ.get("U2NET_ORT_WEB") or ROOT / "web/node_modules/onnxruntime-web")
    if not folder.is_dir():
        pytest.skip(
            "needs onnxruntime-web: U2NET_ORT_WEB names its folder, or `make web` puts it into web/node_modules"
        )
    return from_folder(folder)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(runtime, tmp_path_factory):
    """Where the page is."""
    site = tmp_path_factory.mktemp("web") / "site"
    write_site(site, MODEL, runtime)
    with hosted(site) as address:
        yield address


@pytest.fixture
def page(browser, address):
    """The page, loaded once and ready; it fails if it complains, or asks anything of anybody else."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(120_000)  # machines may be busy
    page = context.new_page()
    complaints, strangers = [], []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
    own = (address, f"blob:{address}", "data:")
    context.on("request", lambda asked: strangers.append(asked.url) if not asked.url.startswith(own) else None)
    page.goto(address)
    page.wait_for_function("() => crossOriginIsolated && navigator.serviceWorker.controller")
    page.wait_for_load_state()
    yield page
    context.close()
    assert complaints == []
    assert strangers == []


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)


def cut_out(page, name: str, content: bytes) -> np.ndarray:
    """The file that the page gives for a picture, which is then removed."""
    drop(page, {name: content})
    wait_for(page, 1)
    found = pixels(downloaded(page, "Download")[1])
    page.get_by_role("button", name=f"Remove {name}").click()
    return found


# ---- In the browser ------------------------------------------------------------------------------------------


def test_a_photograph_is_cut_out_without_a_network_as_python_does_it(page, packaged):
    page.context.set_offline(True)
    page.reload()
    found = cut_out(page, "coffee.jpg", PHOTOGRAPH.read_bytes())
    expected = pixels(remove(PHOTOGRAPH.read_bytes(), session=packaged))
    assert np.abs(found[:, :, 3] - expected[:, :, 3]).max() <= 2
    near = np.abs(found - expected).max(axis=2)
    assert near.mean() < 0.1


@pytest.mark.slow
def test_results_are_retouched_and_put_over_colours_without_a_network(page):
    page.context.set_offline(True)
    drop(page, {"coffee.jpg": PHOTOGRAPH.read_bytes()})
    wait_for(page, 1)
    brush(page, "Erase", (0.45, 0.5), (0.55, 0.5))
    page.locator(".swatch", has_text="yellow").click()
    assert tuple(pixels(downloaded(page, "Download")[1])[200, 300]) == (242, 193, 78, 255)


@pytest.mark.slow
def test_transparent_and_turned_pictures_are_as_python_has_them(page, packaged):
    image = photo(120, 90).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    for name, content in (("clear.png", saved(image, "PNG")), ("turned.png", saved(photo(120, 90), "PNG", exif=exif))):
        found, expected = cut_out(page, name, content), pixels(remove(content, session=packaged))
        assert found.shape == expected.shape
        assert np.abs(found[:, :, 3] - expected[:, :, 3]).max() <= 2


def test_a_broken_picture_says_so(page):
    drop(page, {"broken.png": b"\x89PNG\r\n\x1a\nnothing"})
    said = page.get_by_text("broken.png: This browser cannot read the picture.")
    said.wait_for()
    assert said.is_visible()


@pytest.mark.slow
def test_masks_of_twenty_pictures_are_within_two_levels_of_pythons(page, packaged, data):
    page.context.set_offline(True)
    with tarfile.open(data / "duts-tr/duts-tr-0.tar") as archive:
        members = [member for member in archive if member.name.startswith("images/")][::20][:20]
        contents = {Path(member.name).name: archive.extractfile(member).read() for member in members}
    differences = {}
    for name, content in contents.items():
        found, expected = cut_out(page, name, content), pixels(remove(content, session=packaged))
        differences[name] = np.abs(found[:, :, 3] - expected[:, :, 3]).max()
    assert len(differences) == 20
    assert max(differences.values()) <= 2, differences


# ---- The folder ----------------------------------------------------------------------------------------------


def test_the_page_has_nothing_that_needs_a_service(tmp_path):
    write_site(tmp_path / "site", MODEL, NO_RUNTIME)
    text = (tmp_path / "site/index.html").read_text()
    assert POLICY in text
    for gone in ("with a service", "without:", "<!--", "openapi.json", 'id="key"', 'id="how"', "with-service.js"):
        assert gone not in text
    assert not any((tmp_path / "site" / name).exists() for name in ("service.js", "key.js", "with-service.js"))


def test_every_script_finds_what_it_imports(tmp_path):
    write_site(tmp_path / "site", MODEL, NO_RUNTIME)
    scripts = list((tmp_path / "site").rglob("*.js"))
    for script in scripts:
        for names in re.findall(r'from "(\./[\w./-]+)"|(?:URL|Scripts)\("([\w./-]+)"', script.read_text()):
            assert (script.parent / "".join(names)).is_file(), (script.name, names)
    assert len(scripts) > 20


def test_the_services_page_has_all_that_it_imports_too():
    files = page_files("service")
    assert "with-service.js" in files["index.html"].read_text()
    for name, path in files.items():
        for wanted in re.findall(r'from "\./([\w./-]+)"', path.read_text()) if name.endswith(".js") else ():
            assert (f"engine/{wanted}" if name.startswith("engine/") else wanted) in files, (name, wanted)


def test_the_service_worker_knows_each_file_and_learns_of_each_change(tmp_path):
    def listed(site: Path, model: bytes) -> dict[str, str]:
        write_site(site, model, NO_RUNTIME)
        return json.loads((site / "files.js").read_text().partition("=")[2].partition(";\n")[0])

    first, second = listed(tmp_path / "a", b"one"), listed(tmp_path / "b", b"another")
    there = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert set(first) == there
    assert {name for name in first if first[name] != second[name]} == {"model.onnx", "files.js"}


def test_a_page_is_replaced_and_a_folder_with_anything_else_is_not(tmp_path):
    site, other = tmp_path / "site", tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").touch()
    write_site(site, b"one", NO_RUNTIME)
    write_site(site, b"another", NO_RUNTIME)
    assert (site / "model.onnx").read_bytes() == b"another"
    with pytest.raises(FileExistsError, match="no page of u2net's"):
        write_site(other, b"one", NO_RUNTIME)
    (site / "CNAME").touch()
    with pytest.raises(FileExistsError, match="no page of u2net's"):
        write_site(site, b"third", NO_RUNTIME)
    assert (site / "model.onnx").read_bytes() == b"another"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "site"]


def test_what_fails_leaves_the_former_page_as_it_was(tmp_path):
    write_site(tmp_path / "site", b"one", NO_RUNTIME)
    with pytest.raises(OSError, match="too long"):
        write_site(tmp_path / "site", b"another", {"n" * 300: b""})
    assert (tmp_path / "site/model.onnx").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
