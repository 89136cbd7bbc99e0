import json

import pytest

from u2net.page.runtime import _FILES


@pytest.fixture
def runtime(tmp_path):
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "onnxruntime-web"}))
    for name in _FILES:
        (folder / "dist" / name).touch()
    return folder


def test_a_folder_is_written_with_model_and_runtime(here, tmp_path, runtime):
    done = here("web", tmp_path / "site", "--runtime", runtime)
    assert done.returncode == 0
    assert b"MB in all" in done.stdout
    assert (tmp_path / "site/model.onnx").stat().st_size > 1_000_000
    assert {path.name for path in (tmp_path / "site/runtime").iterdir()} == set(_FILES)


def test_a_page_is_replaced_only_if_that_is_asked_for(here, tmp_path, runtime):
    arguments = ("web", tmp_path / "site", "--runtime", runtime, "--model", "u2netp")
    assert here(*arguments).returncode == 0
    refused = here(*arguments)
    assert (refused.returncode, refused.stderr) == (
        2,
        f"u2net: {tmp_path / 'site'} exists already: --overwrite replaces it\n".encode(),
    )
    assert here(*arguments, "--overwrite").returncode == 0


def test_a_folder_of_something_else_is_never_replaced(here, tmp_path, runtime):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/mine.txt").touch()
    done = here("web", tmp_path / "site", "--runtime", runtime, "--overwrite")
    assert done.returncode == 2
    assert (tmp_path / "site/mine.txt").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--model", "nobody"], "no model"), (["--runtime", "."], "no unpacked package of onnxruntime-web")],
)
def test_what_makes_no_sense_is_refused_in_one_line(here, tmp_path, runtime, arguments, words):
    done = here("web", tmp_path / "site", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "site").exists()
