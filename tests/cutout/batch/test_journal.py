import json
import os
from pathlib import Path

import pytest
from needs import needs_fifos, needs_links

from u2net.cutout.batch.journal import NAME, Journal
from u2net.cutout.batch.plan import Outcome
from u2net.errors import ConfigMismatch, FolderInUse, U2NetError

ASKED = {"model": "u2netp", "outline": {"quality": None}}


@pytest.fixture
def places(tmp_path) -> tuple[Path, Path]:
    """A folder for cut-outs and one of pictures."""
    return tmp_path / "out", tmp_path / "in"


def _outcome(source: Path, output: Path, **given) -> Outcome:
    facts = {"size": 5, "mtime_ns": 10**18 + 1, "sha256": "ab", "target_sha256": "cd", "confidence": 0.75}
    return Outcome(source, output / source.with_suffix(".png").name, "done", **facts | given)


def _lines(output: Path) -> list[bytes]:
    return (output / NAME).read_bytes().splitlines(keepends=True)


def test_what_was_told_is_known_to_the_next_run(places):
    output, folder = places
    outcome = _outcome(folder / "a.jpg", output)
    failure = Outcome(folder / "deep/b.jpg", None, "failed", "another picture would become deep/b.png too")
    with Journal(output, folder, ASKED) as journal:
        assert journal.outcome_of(outcome.source) is None
        for each in (outcome, failure):
            journal.begin(each.source)
            journal.finish(each)
    with Journal(output, folder, ASKED) as journal:
        assert journal.outcome_of(outcome.source) == outcome
        assert journal.outcome_of(failure.source) == failure
        assert not journal.was_begun(outcome.source)


def test_each_line_is_json_that_a_person_can_read(places):
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        journal.begin(folder / "a.jpg")
        journal.finish(_outcome(folder / "a.jpg", output))
        journal.end()
    run, begun, told, ended = map(json.loads, _lines(output))
    assert run["run"]["asked"] == ASKED
    assert (begun, ended) == ({"begun": "a.jpg"}, {"ended": True})
    assert (told["name"], told["status"], told["target"], told["mtime_ns"]) == ("a.jpg", "done", "a.png", 10**18 + 1)


@pytest.mark.parametrize("name", ["new\nline.jpg", 'quo"te.jpg', "ünï.jpg", os.fsdecode(b"\xff.jpg"), "{}.jpg"])
def test_hostile_names_come_back_as_they_were(places, name):
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        journal.finish(_outcome(folder / name, output))
    with Journal(output, folder, ASKED) as journal:
        assert journal.outcome_of(folder / name).source == folder / name


def test_wherever_a_last_line_was_cut_off_the_lines_before_hold(places):
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        journal.finish(_outcome(folder / "a.jpg", output))
        journal.begin(folder / "b.jpg")
        journal.finish(_outcome(folder / "b.jpg", output))
    content = (output / NAME).read_bytes()
    last = len(content) - len(_lines(output)[-1])
    for end in range(last, len(content)):
        (output / NAME).write_bytes(content[:end])
        with Journal(output, folder, ASKED) as journal:
            assert journal.outcome_of(folder / "a.jpg") is not None
            assert journal.outcome_of(folder / "b.jpg") is None
            assert journal.was_begun(folder / "b.jpg")
        assert all(json.loads(line) for line in _lines(output))


def test_a_line_that_the_disk_lost_is_found_out_again(places):
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        journal.finish(_outcome(folder / "a.jpg", output))
        journal.finish(_outcome(folder / "b.jpg", output))
    run, _, told = _lines(output)
    (output / NAME).write_bytes(run + bytes(40) + b"\n" + told)
    with Journal(output, folder, ASKED) as journal:
        assert journal.outcome_of(folder / "a.jpg") is None
        assert journal.outcome_of(folder / "b.jpg") is not None


@pytest.mark.parametrize("line", [b"5", b"[]", b"{}", b"null", b'{"name": "a.jpg", "kind": 1}', b'{"other": 1}', b"{"])
def test_a_line_that_is_not_ours_is_passed_over(places, line):
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        journal.finish(_outcome(folder / "b.jpg", output))
    with (output / NAME).open("ab") as file:
        file.write(line + b"\n")
    with Journal(output, folder, ASKED) as journal:
        assert journal.outcome_of(folder / "a.jpg") is None
        assert journal.outcome_of(folder / "b.jpg") is not None


@pytest.mark.parametrize("target", ["../elsewhere.png", "/elsewhere.png", "a/../../elsewhere.png"])
def test_a_journal_does_not_lead_out_of_its_folder(places, target):
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        journal.finish(_outcome(folder / "a.jpg", output))
    content = (output / NAME).read_text().replace('"a.png"', f'"{target}"')
    (output / NAME).write_text(content)
    with Journal(output, folder, ASKED) as journal:
        assert journal.outcome_of(folder / "a.jpg") is None


def test_another_request_does_not_go_on_and_changes_nothing(places):
    output, folder = places
    with Journal(output, folder, ASKED):
        pass
    before = _lines(output)
    with pytest.raises(ConfigMismatch, match=r'outline\.quality was null and now is "best"'):
        Journal(output, folder, {"model": "u2netp", "outline": {"quality": "best"}})
    assert _lines(output) == before


def test_overwriting_begins_anew(places):
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        journal.finish(_outcome(folder / "a.jpg", output))
        journal.end()
    with Journal(output, folder, {"model": "u2net"}, overwrite=True) as journal:
        assert journal.outcome_of(folder / "a.jpg") is None


@pytest.mark.parametrize("is_ended", [True, False])
def test_only_overwriting_that_was_cut_off_goes_on_where_it_was(places, is_ended):
    output, folder = places
    for name in ("a.jpg", "b.jpg"):  # in a run, and in the one that goes on with it
        with Journal(output, folder, ASKED, overwrite=True) as journal:
            journal.finish(_outcome(folder / name, output))
            if is_ended and name == "b.jpg":
                journal.end()
    with Journal(output, folder, ASKED, overwrite=True) as journal:
        told = [journal.outcome_of(folder / name) is not None for name in ("a.jpg", "b.jpg")]
    assert told == [not is_ended] * 2


def test_folders_of_the_same_names_are_told_apart(places):
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        journal.finish(_outcome(folder / "a.jpg", output))
    other = folder.with_name("other")
    with Journal(output, other, {"model": "another"}) as journal:
        assert journal.outcome_of(other / "a.jpg") is None
    with Journal(output, folder, ASKED) as journal:
        assert journal.outcome_of(folder / "a.jpg") is not None


def test_two_runs_do_not_write_to_one_folder(places):
    output, folder = places
    with Journal(output, folder, ASKED), pytest.raises(FolderInUse, match="another run"):
        Journal(output, folder, ASKED)
    with Journal(output, folder, ASKED):
        pass


def test_two_runs_do_not_write_to_one_folder_where_there_is_no_fcntl_either(places, monkeypatch):
    monkeypatch.setattr("u2net.system.files.fcntl", None)
    output, folder = places
    for _ in range(2):  # what ended can be gone on with
        with Journal(output, folder, ASKED), pytest.raises(FolderInUse, match="another run"):
            Journal(output, folder, ASKED)


def test_a_full_disk_is_told(places, monkeypatch):
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        write = os.write
        monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:3]))
        with pytest.raises(OSError, match="No space left"):
            journal.begin(folder / "a.jpg")
        monkeypatch.undo()


def _told(output, folder):
    with Journal(output, folder, ASKED) as journal:
        return [(journal.outcome_of(folder / name), journal.was_begun(folder / name)) for name in ("a.jpg", "b.jpg")]


def test_no_flipped_bit_ends_a_run(places, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # of a thousand runs
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        for name in ("a.jpg", "b.jpg"):
            journal.begin(folder / name)
            journal.finish(_outcome(folder / name, output))
    whole = (output / NAME).read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        (output / NAME).write_bytes(content)
        try:
            for outcome, _ in _told(output, folder):
                assert outcome is None or outcome.target is None or outcome.target.is_relative_to(output)
        except ConfigMismatch:
            assert place < whole.index(b"\n")  # what was asked is another


def test_of_a_run_whose_line_is_damaged_nothing_is_believed(places):
    output, folder = places
    with Journal(output, folder, ASKED):
        pass
    with Journal(output, folder.with_name("other"), ASKED) as journal:
        journal.begin(folder.with_name("other") / "a.jpg")
    (output / NAME).write_bytes(
        (output / NAME).read_bytes().replace(b'true, "source": "' + str(folder).encode()[:-2], b"true, ")
    )
    assert _told(output, folder)[0] == (None, False)


DEEP = b"[" * 100_000
STRANGE = [
    b'{"run": 1}', b'{"run": {"source": 7}}', b'{"begun": {}}', b'{"begun": null}', b'{"name": "a.jpg"}', b"null", b"7",
    b'{"name": "a.jpg", "status": "owned"}', b'{"name": "a.jpg", "status": "done", "target": 7}',
    b'{"name": "a.jpg", "status": "done", "target": "\\u0000.png"}', b'{"ended": {}}', b'{"name": [], "status": ""}',
    b'{"name": "a.jpg", "status": "done", "target": "\\ud800.png"}', b'{"name": "a.jpg", "status": "done", "size": []}',
    b'{"name": "a.jpg", "status": "done", "target": "u2net-journal.jsonl"}', b'{"name": ' + DEEP, DEEP, b"{}", b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("line", STRANGE, ids=range(len(STRANGE)))
def test_what_is_unknown_is_untold(places, line):
    output, folder = places
    with Journal(output, folder, ASKED) as journal:
        journal.begin(folder / "b.jpg")
    with (output / NAME).open("ab") as file:
        file.write(line + b"\n")
    assert _told(output, folder) == [(None, False), (None, True)]


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(os.symlink, marks=needs_links),
        os.link,
        pytest.param(lambda _, path: os.mkfifo(path), marks=needs_fifos),
    ],
)
def test_a_journal_that_is_a_link_is_refused_and_what_it_leads_to_stays(places, tmp_path, put):
    output, folder = places
    output.mkdir()
    (tmp_path / "precious").write_bytes(b"no end of line")
    put(tmp_path / "precious", output / NAME)
    with pytest.raises(U2NetError, match="no journal is written"):
        Journal(output, folder, ASKED)
    assert (tmp_path / "precious").read_bytes() == b"no end of line"
