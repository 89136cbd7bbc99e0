import os
import subprocess
import sys

import pytest

import u2net as package
from cli.command import u2net


def test_the_version():
    for result in (u2net("--version"), u2net("--version", "--help")):
        assert result.stdout.decode().startswith("u2net ") or b"Usage" in result.stdout
    assert u2net("--version").stdout.decode() == f"u2net {package.__version__}\n"


def test_the_version_is_told_before_anything_is_loaded():
    command = [sys.executable, "-X", "importtime", "-m", "u2net", "--version"]
    told = [subprocess.run(c, capture_output=True, text=True).stderr for c in (command, [*command[:3], "-c", "pass"])]
    loaded, anyway = ({line.rpartition("|")[2].strip() for line in text.splitlines()} for text in told)
    assert not {"typing", "re", "enum", "click"} & (loaded - anyway)


def test_a_verb_does_not_load_the_others():
    code = (
        "import sys; from u2net.cli import cli; cli(['remove', '--help'], standalone_mode=False); print(*sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "u2net.cli.remove" in told
    assert "u2net.cli.train" not in told


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["remove", "--help"], ["models", "--help"]])
def test_version_and_help_load_neither_numpy_nor_a_runtime(arguments):
    command = [sys.executable, "-X", "importtime", "-m", "u2net", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert not loaded & {"numpy", "onnxruntime", "PIL", "torch", "tqdm", "pooch", "openvino"}


def test_an_unknown_verb_is_exit_code_2():
    assert u2net("vanish").returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_back(shell):
    assert b"_U2NET_COMPLETE" in u2net("completion", shell).stdout


def test_completion_completes():
    words = {"COMP_WORDS": "u2net rem", "COMP_CWORD": "1", "_U2NET_COMPLETE": "bash_complete"}
    result = u2net(env=os.environ | words)
    assert result.stdout == b"plain,remove\n"


def test_nothing_is_coloured():
    assert b"\x1b" not in u2net("--help", env=os.environ | {"NO_COLOR": "1"}).stdout
