import json
import shutil
import tarfile

import pytest
from pictures import read_image
from planted import plant, save_pair, sound

from cli.command import u2net


def _told(run, *arguments):
    result = run("check-data", *arguments)
    return result.returncode, result.stdout.decode(), result.stderr.decode()


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    training, validation, expected = plant(root)
    options = ["--validation", validation, "--json", root / "r.json", "--sheet", root / "s.png", "--all"]
    return root, expected, _told(u2net, training, *options)


def test_every_fault_is_told_by_name_and_what_comes_of_it(planted):
    _, expected, (code, text, errors) = planted
    assert (code, errors) == (1, "")
    for kind, name in expected:
        assert f" {kind} (" in text
        assert f"/{name} " in text
    assert text.count("u2net train ") == len({kind for kind, _ in expected})


def test_layout_and_counts_are_told(planted):
    _, _, (_, text, _) = planted
    assert "training (training): 27 of 34 pairs can be used\n  pictures: 34 in images/*.png" in text
    assert text.endswith("30 of 37 pairs can be used: 9 errors, 11 warnings, 7 notes\n")


def test_json_and_sheet_are_written(planted):
    root, expected, _ = planted
    rows = json.loads((root / "r.json").read_text())["findings"]
    assert sorted((row["kind"], row["name"]) for row in rows) == expected
    assert read_image(root / "s.png").width > 1000


def test_sound_data_end_well(here, tmp_path):
    code, text, errors = _told(here, sound(tmp_path))
    assert (code, errors) == (0, "")
    assert text.endswith("8 of 8 pairs can be used: 0 errors, 0 warnings, 0 notes\n")


def test_warnings_alone_end_well(here, tmp_path):
    save_pair(sound(tmp_path), "again", 1)
    code, text, _ = _told(here, tmp_path)
    assert code == 0
    assert "WARNING duplicate (1)" in text


def test_an_archive_and_folders_apart_are_examined(here, tmp_path):
    root = sound(tmp_path / "set")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(root, "set")
    assert _told(here, tmp_path / "set.tar")[0] == 0
    assert _told(here, "--images", root / "images", "--masks", root / "masks")[0] == 0


def test_masks_may_have_an_ending_that_pictures_have_not(here, tmp_path):
    for mask in list((sound(tmp_path) / "masks").iterdir()):
        mask.rename(mask.with_stem(f"{mask.stem}_mask"))
    save_pair(tmp_path, "twice", 40)
    (tmp_path / "masks/twice.png").rename(tmp_path / "masks/twice_mask.png")
    (tmp_path / "masks/more").mkdir()
    shutil.copy(tmp_path / "masks/twice_mask.png", tmp_path / "masks/more")
    code, text, _ = _told(here, tmp_path, "--mask-suffix", "_mask")
    assert code == 1
    assert "8 of 9 pairs can be used: 1 error, 0 warnings" in text
    assert "same-name" in text


def test_of_many_findings_five_are_named_unless_all_are_asked_for(here, tmp_path):
    for index in range(9):
        save_pair(sound(tmp_path), f"alone{index}", 40 + index)
        (tmp_path / f"masks/alone{index}.png").unlink()
    assert "    and 4 more\n" in _told(here, tmp_path)[1]
    assert "alone8 " in _told(here, tmp_path, "--all")[1]


def test_classes_are_told_by_their_names(here, tmp_path):
    from PIL import Image

    save_pair(tmp_path, "a", 0, truth=Image.new("L", (96, 72), 1))
    code, text, _ = _told(here, tmp_path, "--classes", "ground,car,wheel")
    assert code == 0
    assert "classes: ground 0.00%, car 100.00%, wheel 0.00%\n" in text
    assert "class 2, wheel" in text


def test_a_name_cannot_move_the_cursor(here, tmp_path):
    save_pair(sound(tmp_path), "a\x1b[2Jb", 40)
    (tmp_path / "masks/a\x1b[2Jb.png").unlink()
    _, text, _ = _told(here, tmp_path)
    assert "\x1b" not in text
    assert r"a\x1b[2Jb" in text


def _folder(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["readme.txt"], "holds no pictures"),
        (["a.jpg", "b.jpg"], "found no pictures with masks"),
        (["images/a.jpg", "masks/a_mask.png"], "images/a.jpg seems to belong to masks/a_mask.png"),
        (["images/a.jpg", "masks/b.png"], "no picture has the name of a mask"),
    ],
)
def test_no_pairs_is_one_line_with_what_is_expected(here, tmp_path, names, words):
    code, text, errors = _told(here, _folder(tmp_path / "set", *names))
    assert (code, text, errors.count("\n")) == (1, "", 1)
    assert words in errors
    assert "expected images/NAME.jpg with masks/NAME.png" in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give DATA"),
        (["{0}", "--images", "{0}/images"], "--images and --masks go together"),
        (["{0}", "--classes", "1"], "from 2 to 256"),
        (["{0}", "--classes", "car,car"], "two different names"),
        (["{0}", "--sheet", "{0}/sheet.txt"], "--sheet ends in"),
    ],
)
def test_nonsense_is_refused_in_one_line(here, tmp_path, arguments, words):
    root = sound(tmp_path, 2)
    code, text, errors = _told(here, *(argument.format(root) for argument in arguments))
    assert (code, text, errors.count("\n")) == (2, "", 1)
    assert words in errors


def test_a_file_that_cannot_be_written_is_one_line(here, tmp_path):
    code, _, errors = _told(here, sound(tmp_path, 2), "--json", tmp_path / "nowhere/r.json")
    assert (code, errors.count("\n")) == (1, 1)
