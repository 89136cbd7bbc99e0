import json
from collections import Counter

import numpy as np
import pytest
from pictures import ROOT, exif
from PIL import Image
from planted import FAULTS, SIZE, mask, picture, plant, save_pair, sound

from u2net.evaluation.check import KINDS, examine
from u2net.evaluation.dataset import open_dataset, open_pairs


def _found(root, validation=(), **options):
    report = examine(open_dataset(root, strict=False), [open_dataset(v, strict=False) for v in validation], **options)
    return sorted((finding.kind, finding.name) for finding in report.findings)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    training, validation, expected = plant(tmp_path_factory.mktemp("planted"))
    return examine(open_dataset(training, strict=False), [open_dataset(validation, strict=False)]), expected


def _detail(report, name):
    return " ".join(finding.detail for finding in report.findings if finding.name == name)


def test_each_planted_fault_is_found_and_none_invented(planted):
    report, expected = planted
    assert sorted((finding.kind, finding.name) for finding in report.findings) == expected


def test_sound_data_gives_nothing(tmp_path):
    assert _found(sound(tmp_path / "a"), [sound(tmp_path / "b", 3, seed=60)]) == []


def test_every_kind_for_two_classes_is_planted(planted):
    of_classes = {"no-indices", "out-of-range", "ignored", "absent"}
    assert {kind for kind, _ in planted[1]} == set(KINDS) - of_classes - {"mostly-inverted"}


def test_the_page_names_every_kind_with_its_severity():
    page = (ROOT / "docs/check-data.md").read_text()
    for kind in KINDS.values():
        assert f"| {kind.severity} | `{kind.name}` | {kind.meaning} | {kind.consequence} |" in page


def test_findings_come_with_the_worst_first(planted):
    kinds = [finding.kind for finding in planted[0].findings]
    assert kinds == sorted(kinds, key=list(KINDS).index)
    assert [kind.severity for kind in KINDS.values()] == sorted(
        (kind.severity for kind in KINDS.values()), key=["error", "warning", "note"].index
    )


def test_pairs_and_usable_pairs_are_counted(planted):
    report, _ = planted
    training, validation = report.examined
    num_files = 8 + len(FAULTS) + 5
    assert training.num_pairs == num_files - 2  # one has no mask, one no picture
    assert training.num_usable == training.num_pairs - 7  # one of two names, three unreadable, three of two sizes
    assert (validation.num_pairs, validation.num_usable) == (3, 3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("laid", "picture 96×72, mask 72×96: the picture is turned by its EXIF orientation, the mask not"),
        ("smaller", "same proportions, the mask is 0.5 times"),
        ("squeezed", "other proportions"),
        ("no-bytes", "mask: the file is empty"),
        ("a-text", "picture: not a JPEG"),
        ("cut-off", "truncated"),
        ("two-pictures", "images/two-pictures.jpg and images/two-pictures.png"),
        ("green", "levels 0, 150"),  # Rec. 601 gives green 0.587 of 255
        ("dark", "levels 0 to 85"),
        ("once-more", "is like once"),
        ("turned-right", "mirrors turned-left, masks overlap by"),
        ("asked", "is like training/learnt"),
    ],
)
def test_details_say_what_was_seen(planted, name, words):
    assert words in _detail(planted[0], name)


def test_a_mask_that_is_called_otherwise_is_proposed(tmp_path):
    save_pair(sound(tmp_path), "Dog", 40)
    (tmp_path / "masks/Dog.png").rename(tmp_path / "masks/dog_mask.png")
    report = examine(open_dataset(tmp_path))
    assert [f.kind for f in report.findings] == ["no-mask", "no-picture"]
    assert "images/Dog.png seems to belong to masks/dog_mask.png" in _detail(report, "Dog")


def test_data_that_is_inverted_throughout_is_called_so(tmp_path):
    for index in range(6):
        save_pair(tmp_path, str(index), index, truth=mask(index).point(lambda v: 255 - v))
    found = Counter(kind for kind, _ in _found(tmp_path))
    assert found == {"mostly-inverted": 1, "inverted": 6}


def test_a_subject_that_fills_the_frame_is_not_called_inverted(tmp_path):
    close_up = np.full(SIZE[::-1], 255, np.uint8)
    close_up[:10, :20] = 0
    save_pair(sound(tmp_path), "close", 40, truth=Image.fromarray(close_up))
    assert _found(tmp_path) == []


def test_a_mask_drawn_on_the_upright_picture_is_right(tmp_path):
    save_pair(sound(tmp_path), "phone", 40)
    laid = picture(40).transpose(Image.Transpose.ROTATE_90)
    laid.save(tmp_path / "images/phone.png", exif=exif(orientation=6))
    assert _found(tmp_path) == []


def _classes(root, **masks):
    for index, (name, indices) in enumerate(masks.items()):
        save_pair(root, name, index, truth=Image.fromarray(indices))
    return root


def _halves(left, right):
    indices = np.full(SIZE[::-1], left, np.uint8)
    indices[:, SIZE[0] // 2 :] = right
    return indices


def test_indices_are_counted_and_ignored_ones_are_not(tmp_path):
    root = _classes(tmp_path, a=_halves(0, 1), b=_halves(2, 255))
    report = examine(open_dataset(root), classes=["ground", "car", "wheel"])
    assert report.findings == []
    assert report.class_shares == pytest.approx({"ground": 1 / 3, "car": 1 / 3, "wheel": 1 / 3})


def test_faults_of_indices_are_found_and_none_invented(tmp_path):
    root = _classes(
        tmp_path, a=_halves(0, 1), beyond=_halves(1, 7), coloured=np.dstack([_halves(0, 1)] * 3), none=_halves(255, 255)
    )
    found = _found(root, classes=["ground", "car", "wheel"])
    assert found == [("absent", ""), ("ignored", "none"), ("no-indices", "coloured"), ("out-of-range", "beyond")]


def test_a_palette_of_classes_is_read_by_its_indices(tmp_path):
    indexed = Image.fromarray(_halves(1, 2))
    indexed.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    save_pair(_classes(tmp_path, ground=_halves(0, 0)), "voc", 5, truth=indexed)
    assert _found(tmp_path, classes=3) == []


def test_masks_of_classes_that_contradict_each_other_are_found(tmp_path):
    save_pair(tmp_path, "one", 3, truth=Image.fromarray(_halves(1, 2)))
    save_pair(tmp_path, "other", 3, truth=Image.fromarray(_halves(2, 1)))
    assert _found(tmp_path, classes=3) == [("absent", ""), ("duplicate", "other"), ("unequal-masks", "other")]


def test_several_data_sets_are_held_beside_each_other(tmp_path):
    one, other = sound(tmp_path / "one", 3), sound(tmp_path / "other", 2, seed=30)
    save_pair(other, "again", 1)
    report = examine([open_dataset(one), open_dataset(other)])
    assert [(f.kind, f.dataset, f.detail) for f in report.findings] == [("duplicate", "other", "is like one/sound1")]


def test_data_sets_of_one_name_are_told_apart(tmp_path):
    sets = [open_dataset(sound(tmp_path / part / "set", 2)) for part in ("train", "val")]
    report = examine(sets[0], sets[1:])
    assert [(f.dataset, f.detail) for f in report.findings] == [
        ("set-2", "is like set/sound0"),
        ("set-2", "is like set/sound1"),
    ]


def test_threads_and_progress_change_nothing(planted, tmp_path):
    seen = []
    root = sound(tmp_path)
    save_pair(root, "empty", 40, truth=Image.new("L", SIZE))
    dataset = open_dataset(root)
    report = examine(dataset, threads=1, progress=lambda d: (seen.append(e.name) or e for e in d))
    assert seen == [example.name for example in dataset]
    assert report.findings == examine(dataset, threads=4).findings


def test_a_number_of_classes_that_makes_no_sense_is_refused(tmp_path):
    with pytest.raises(ValueError, match="classes are 2 to 256"):
        examine(open_dataset(sound(tmp_path)), classes=1)


def test_the_report_as_json_holds_every_finding(planted):
    report, expected = planted
    whole = json.loads(report.to_json())
    assert sorted((row["kind"], row["name"]) for row in whole["findings"]) == expected
    assert {row["severity"] for row in whole["findings"]} == {"error", "warning", "note"}
    assert [one["role"] for one in whole["datasets"]] == ["training", "validation"]


def test_folders_apart_are_examined_too(tmp_path):
    root = sound(tmp_path)
    assert examine(open_pairs(root / "images", root / "masks", strict=False)).summary().startswith("8 of 8 pairs")


def test_research_data_are_nearly_without_faults(data):
    duts, ecssd = open_dataset(data / "duts-tr/duts-tr-0.tar"), open_dataset(data / "ecssd.tar")
    first = type(duts)(duts.name, duts.layout, duts.examples[:300])
    held = type(ecssd)(ecssd.name, ecssd.layout, ecssd.examples[::5])
    report = examine(first, [held])
    assert report.count("error") == report.count("warning") == 0
    assert {finding.kind for finding in report.findings} <= {"soft"}
