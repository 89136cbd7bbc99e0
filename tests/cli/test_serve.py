import os
import socket

import pytest

from cli.command import u2net
from u2net.server import ServerConfig

pytest.importorskip("uvicorn", reason="the extra serve is not installed")


def test_every_setting_has_an_option_but_the_keys():
    shown = u2net("serve", "--help").stdout.decode()
    from dataclasses import fields

    for field in fields(ServerConfig):
        assert (f"--{field.name.replace('_', '-')} " in shown) == (field.name != "api_keys")


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--port", "70000"], {}),
        (["--max-pixels", "0"], {}),
        ([], {"U2NET_SERVE_PORT": "x"}),
        ([], {"U2NET_SERVE_PROT": "1"}),
        ([], {"U2NET_SERVE_API_KEYS": "a:secret"}),
    ],
)
def test_settings_that_make_no_sense_are_one_line_and_exit_code_2(arguments, environment):
    result = u2net("serve", *arguments, env=os.environ | environment)
    assert result.returncode == 2
    assert result.stderr.count(b"\n") == 1
    assert b"secret" not in result.stderr


def test_a_port_that_is_taken_is_one_line_and_exit_code_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = u2net("serve", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1


def test_a_model_that_is_none_ends_it():
    result = u2net("serve", "--port", "0", "--models", "no-such-model")
    assert result.returncode == 1
    assert b"no-such-model" in result.stdout
