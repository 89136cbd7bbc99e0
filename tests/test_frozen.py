"""A program that PyInstaller made of this package, with nothing said but the program's name."""

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from cli.command import u2net
from pictures import PHOTOGRAPH, ROOT, read_image

from u2net import __version__, remove

_PROGRAM = """
import sys
from PIL import Image
from u2net import remove
from u2net.__main__ import main

if __name__ == "__main__":
    if sys.argv[1] == "library":
        remove(Image.open(sys.argv[2])).save(sys.argv[3])
    else:
        main()
"""

# A light installation has none of these; here they would make the program take gigabytes and minutes.
_HEAVY = (
    *("IPython", "cv2", "fastapi", "matplotlib", "onnx", "openvino", "pandas", "pyarrow", "pytest", "ray"),
    *("safetensors", "scipy", "tensorboard", "tifffile", "torch", "uvicorn"),
)


def _entry_points() -> dict[str, dict[str, str]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory) -> Path:
    """The program's folder has no sources of ours beside it, and the tests run it without a Python of theirs."""
    pytest.importorskip("PyInstaller")
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "program.py").write_text(_PROGRAM)
    # What is installed may be older than pyproject.toml: its entry points are put before it.
    metadata = folder / f"metadata/u2net-{__version__}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: u2net\nVersion: {__version__}\n")
    lines = [
        f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in names.items()) for group, names in _entry_points().items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(metadata.parent), str(ROOT / "src"))),
        "PYINSTALLER_CONFIG_DIR": str(folder / "cache"),
    }
    excluded = [option for name in _HEAVY for option in ("--exclude-module", name)]
    command = [sys.executable, "-m", "PyInstaller", "--log-level", "WARN", *excluded, "program.py"]
    made = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return folder / "dist/program/program"


def _run(program: Path, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run([program, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_hooks_are_named_after_modules_and_found_by_the_entry_point():
    name, _, function = _entry_points()["pyinstaller40"]["hook-dirs"].partition(":")
    (folder,) = getattr(import_module(name), function)()
    hooks = sorted(path.stem.removeprefix("hook-") for path in Path(folder).glob("hook-*.py"))
    assert hooks == ["openvino", "u2net", "u2net.cli"]


@pytest.mark.slow
def test_a_frozen_program_cuts_out_by_the_library(frozen, tmp_path):
    result = _run(frozen, "library", PHOTOGRAPH, tmp_path / "a.png", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    expected = np.asarray(remove(PHOTOGRAPH), dtype=int)
    assert np.abs(np.asarray(read_image(tmp_path / "a.png"), dtype=int)[..., 3] - expected[..., 3]).mean() < 5


@pytest.mark.slow
def test_a_frozen_program_cuts_out_a_picture(frozen, tmp_path):
    result = _run(frozen, "remove", PHOTOGRAPH, "a.png", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "wrote a.png\n"), result.stderr
    assert read_image(tmp_path / "a.png").mode == "RGBA"


@pytest.mark.slow
def test_a_frozen_program_cuts_out_a_folder_by_processes(frozen, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "in" / name).write_bytes(PHOTOGRAPH.read_bytes())
    result = _run(frozen, "remove", "in", "out", "--workers", "2", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "2 done, 0 skipped, 0 failed\n"), result.stderr
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"a.png", "b.png"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb", ["check-data", "completion", "evaluate", "export", "models", "remove", "serve", "train"]
)
def test_each_verb_of_a_frozen_program_has_its_help(frozen, tmp_path, verb):
    result = _run(frozen, verb, "--help", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == u2net(verb, "--help", cwd=tmp_path).stdout.decode()
