import json

import pytest

from cli.command import u2net
from u2net.models.table import MODELS
from u2net.models.zoo import find


def test_the_list_names_every_model(here):
    rows = json.loads(here("models", "list", "--json").stdout)
    assert [row["name"] for row in rows] == list(MODELS)
    assert {row["where"] for row in rows} <= {"packaged", "here", "to download"}


def test_the_list_for_people_has_a_line_for_each_model(here):
    lines = here("models", "list").stdout.decode().splitlines()
    assert all(model.purpose in line for line, model in zip(lines, MODELS.values(), strict=True))
    assert "176.0 MB" in lines[2]


def test_info_tells_parameters_work_and_feeding(here):
    facts = json.loads(here("models", "info", "u2netp", "--json").stdout)
    assert facts["num_parameters"] == 1_131_181
    assert round(facts["num_macs"] / 1e9, 2) == 19.76
    assert facts["transform"]["size"] == [320, 320]
    assert facts["licence"] == "Apache-2.0"


def test_info_at_another_size_counts_in_proportion(here):
    small, large = (
        json.loads(here("models", "info", "u2netp", "--size", str(side), str(side), "--json").stdout)
        for side in (64, 128)
    )
    assert large["num_macs"] == 4 * small["num_macs"]


def test_info_for_people_shows_the_card(here):
    text = here("models", "info", "u2netp").stdout.decode()
    assert "1,131,181" in text
    assert "19.76 GMAC at 320×320" in text


def test_info_of_weights_of_torch(here, tmp_path):
    pytest.importorskip("torch")
    from u2net.net import load_checkpoint, save_checkpoint

    network, card = load_checkpoint(find("u2netp"))
    save_checkpoint(network, tmp_path / "mine.safetensors", card)
    facts = json.loads(here("models", "info", tmp_path / "mine.safetensors", "--size", "64", "64", "--json").stdout)
    assert (facts["num_parameters"], facts["name"]) == (1_131_181, "u2netp")


def test_verify_says_what_is_right():
    result = u2net("models", "verify", "u2netp")
    assert (result.returncode, result.stdout.startswith(b"u2netp: right")) == (0, True)


def test_path_prints_the_path_alone(here):
    assert here("models", "path", "u2netp").stdout.decode().strip() == str(find("u2netp"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["info", "nonsense"], 2),
        (["info", "u2netp", "--size", "3", "3"], 2),
        (["verify", "nonsense"], 2),
        (["download", "nonsense"], 2),
        (["path", "nonsense"], 2),
        (["path", "u2net"], 1),
        (["download", "u2net"], 1),
        (["verify", "u2net"], 2),
    ],
)
def test_what_cannot_be_is_a_failure_of_few_words(here, monkeypatch, tmp_path, arguments, code):
    for place in ("U2NET_HOME", "HOME", "USERPROFILE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(place, str(tmp_path))
    monkeypatch.setenv("U2NET_OFFLINE", "1")
    result = here("models", *arguments)
    assert result.returncode == code
    assert b"Traceback" not in result.stderr
    assert result.stderr.strip()
