import copy
import json
import shutil
import sys
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import torch
from pictures import ROOT

from u2net.errors import DownloadError, InvalidModel, MissingExtra
from u2net.models.card import Card
from u2net.models.transform import Transform
from u2net.models.zoo import find
from u2net.net import U2NETP, U2Net, load_checkpoint, save_checkpoint
from u2net.net.checkpoint import describe
from u2net.net.pretrained import to_readme

CARD = Card("mine", Transform(size=(64, 48), stretch=False), licence="MIT", source="a | b", scores={"maxF": 0.5})


def are_equal(ours: U2Net, theirs: U2Net) -> bool:
    ours, theirs = ours.state_dict(), theirs.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())


# ---- Folders and files ---------------------------------------------------------------------------------------


def test_a_network_comes_back_from_a_folder_bit_for_bit_with_its_card(tmp_path, tiny):
    tiny.save_pretrained(tmp_path / "a/mine", card=CARD)
    assert {file.name for file in (tmp_path / "a/mine").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    again = U2Net.from_pretrained(tmp_path / "a/mine")
    assert are_equal(again, tiny)
    assert (again.card, again.training) == (describe(tiny, CARD), False)
    assert Card.from_json((tmp_path / "a/mine/config.json").read_text()) == again.card


def test_a_network_comes_from_a_file_of_ours(tmp_path, tiny):
    save_checkpoint(tiny, tmp_path / "mine.safetensors", CARD)
    again = U2Net.from_pretrained(tmp_path / "mine.safetensors")
    assert are_equal(again, tiny)
    assert again.card.name == "mine"


def test_the_card_that_came_goes_along_and_without_one_the_folder_gives_its_name(tmp_path, least):
    least.save_pretrained(tmp_path / "first")
    first = U2Net.from_pretrained(tmp_path / "first")
    assert first.card.name == "first"
    copy.deepcopy(first).save_pretrained(tmp_path / "second")
    assert U2Net.from_pretrained(tmp_path / "second").card == first.card
    assert least.card is None


def test_a_readme_that_somebody_wrote_stays(tmp_path, least):
    (tmp_path / "README.md").write_text("mine")
    least.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_damaged_weights_and_an_empty_folder_are_refused(tmp_path, least):
    with pytest.raises(FileNotFoundError):
        U2Net.from_pretrained(tmp_path)
    least.save_pretrained(tmp_path)
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InvalidModel):
        U2Net.from_pretrained(tmp_path)


def test_the_readme_says_what_is_known_and_how_to_use_it():
    head, _, body = to_readme(CARD).removeprefix("---\n").partition("---\n")
    assert 'license: "mit"' in head
    assert "# mine" in body
    assert "| source | a \\| b |" in body
    assert "| maxF | 0.5 |" in body
    assert "U2Net.from_pretrained(" in body


def test_a_card_of_a_stranger_stays_within_its_lines():
    text = to_readme(Card("a\n---\nb: <script>", licence='x\n---\ntags: ["y"]', source="c |\n| d"))
    assert text.count("\n---\n") == 1
    assert "\ntags: [" in text
    assert 'tags: ["y"]' not in text.splitlines()
    assert "<script>" not in text


# ---- The Hub -------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch) -> SimpleNamespace:
    """Stands for the package huggingface_hub: folders below `root` are its repositories, `asked` what it was asked."""
    root, asked = tmp_path / "hub", []

    def download(name: str, file: str, **options) -> str:
        asked.append(options)
        if not (root / name / file).exists():
            raise FileNotFoundError("no such\nrepository")
        return str(root / name / file)

    class HfApi:
        def __init__(self, token: str | None = None) -> None:
            asked.append({"token": token})

        def create_repo(self, name: str, **options) -> SimpleNamespace:
            asked.append(options)
            return SimpleNamespace(repo_id=f"owner/{name.rpartition('/')[2]}")

        def upload_folder(self, *, repo_id: str, folder_path: str, **options) -> str:
            asked.append(options)
            shutil.copytree(folder_path, root / repo_id)
            return f"hub:{repo_id}"

    fake = SimpleNamespace(root=root, asked=asked, hf_hub_download=download, HfApi=HfApi)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def test_what_was_published_comes_back(hub, tiny):
    where = tiny.push_to_hub("mine", card=CARD, private=True, token="t", branch="b", create_pr=True)
    assert where == "hub:owner/mine"
    *made, uploaded = hub.asked
    assert made == [{"token": "t"}, {"private": True, "exist_ok": True}]
    assert (uploaded["revision"], uploaded["create_pr"]) == ("b", True)
    again = U2Net.from_pretrained("owner/mine", revision="b", local_files_only=True)
    assert are_equal(again, tiny)
    assert again.card == describe(tiny, CARD)
    assert (hub.asked[-1]["revision"], hub.asked[-1]["local_files_only"]) == ("b", True)
    assert json.loads((hub.root / "owner/mine/config.json").read_text())["name"] == "mine"


def test_what_cannot_be_fetched_is_one_line_and_offline_nothing_is_tried(hub, monkeypatch):
    monkeypatch.setenv("U2NET_OFFLINE", "1")
    with pytest.raises(DownloadError, match="owner/none is no folder, no file, and cannot be fetched: no such repos"):
        U2Net.from_pretrained("owner/none")
    assert hub.asked[-1]["local_files_only"] is True


def test_without_the_package_only_the_hub_is_missing(tmp_path, least, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    least.save_pretrained(tmp_path)
    assert are_equal(U2Net.from_pretrained(tmp_path), least)
    for call in (lambda: U2Net.from_pretrained("owner/none"), lambda: least.push_to_hub("owner/none")):
        with pytest.raises(MissingExtra, match=r"u2net\[hub\]"):
            call()


def test_the_package_itself_knows_what_we_ask_it(tmp_path, least, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    for name in ("owner/none", "no name at all!!"):
        with pytest.raises(DownloadError):
            U2Net.from_pretrained(name, cache_dir=tmp_path, local_files_only=True)
    made = create_autospec(hub.HfApi.create_repo, return_value=SimpleNamespace(repo_id="owner/mine"))
    published = create_autospec(hub.HfApi.upload_folder, return_value="where it is")
    monkeypatch.setattr(hub.HfApi, "create_repo", made)
    monkeypatch.setattr(hub.HfApi, "upload_folder", published)
    assert least.push_to_hub("owner/mine", private=True, branch="b") == "where it is"
    assert made.call_count == published.call_count == 1


# ---- torch.hub -----------------------------------------------------------------------------------------------


def test_torch_hub_gives_the_small_network_with_its_weights_and_its_card():
    network = torch.hub.load(str(ROOT), "u2netp", source="local")
    assert are_equal(network, load_checkpoint(find("u2netp")).network)
    assert (network.card.name, network.card.licence, network.training) == ("u2netp", "Apache-2.0", False)
    assert network.card.num_parameters == 1_131_181


def test_torch_hub_gives_a_network_without_weights():
    network = torch.hub.load(str(ROOT), "u2netp", source="local", pretrained=False)
    assert (network.stages, network.card) == (U2NETP, None)


def test_torch_hubs_full_network_takes_its_weights_from_the_zoo(monkeypatch, tmp_path, least):
    save_checkpoint(least, tmp_path / "u2net.safetensors", Card("whatever"))
    monkeypatch.setattr("u2net.models.zoo.resolve", lambda name, *, progress: tmp_path / f"{name}.safetensors")
    network = torch.hub.load(str(ROOT), "u2net", source="local")
    assert are_equal(network, least)
    assert (network.card.name, network.card.scores["ECSSD maxF, paper"]) == ("u2net", 0.951)
