from dataclasses import fields

import pytest

from u2net.images.load import LIMITS
from u2net.server import ServerConfig

NONSENSE = {
    "port": 70000,
    "workers": 0,
    "models": (),
    "runtime": "caffe",
    "max_batch": -1,
    "max_pixels": 0,
    "pixels_at_once": 1000,
    "bodies_at_once": 1000,
    "read_timeout_s": 0.0,
    "api_keys": ("shop:secret",),
    "log_level": "loud",
}


def test_it_listens_to_this_machine_alone_unless_told():
    assert ServerConfig().host == "127.0.0.1"


def test_it_fetches_nothing_unless_told():
    assert ServerConfig().fetch_hosts == ()


def test_the_limits_are_those_of_the_package():
    assert ServerConfig().limits == LIMITS


@pytest.mark.parametrize("name", NONSENSE)
def test_what_makes_no_sense_is_refused_by_name(name):
    with pytest.raises(ValueError, match=name):
        ServerConfig(**{name: NONSENSE[name]})


def test_every_field_may_come_from_the_environment():
    environment = {"U2NET_SERVE_PORT": "80", "U2NET_SERVE_MODELS": "u2netp, u2net", "U2NET_SERVE_TIMEOUT_S": "1.5"}
    config = ServerConfig.from_environment(environment | {"HOME": "/root", "U2NET_SERVE_HOST": ""})
    assert config == ServerConfig(port=80, models=("u2netp", "u2net"), timeout_s=1.5)


@pytest.mark.parametrize("variable", ["U2NET_SERVE_PROT", "U2NET_SERVE_"])
def test_a_variable_that_is_misspelt_is_refused(variable):
    with pytest.raises(ValueError, match=variable):
        ServerConfig.from_environment({variable: "1"})


def test_a_number_that_is_none_is_refused():
    with pytest.raises(ValueError, match="U2NET_SERVE_PORT must be a number"):
        ServerConfig.from_environment({"U2NET_SERVE_PORT": "eighty"})


def test_every_field_says_what_it_is():
    from u2net.config import field_docstrings

    assert set(field_docstrings(ServerConfig)) >= {field.name for field in fields(ServerConfig)}
