from pathlib import Path

import pytest
from PIL import Image

from training.pairs import write_pairs
from u2net.errors import BadPictures, InvalidDataset
from u2net.training.loop import train
from u2net.training.record import read_rows

pytestmark = pytest.mark.usefixtures("lean")


def _spoil(root: Path) -> set[str]:
    """Five pairs of which each has another fault."""
    (root / "masks" / "picture-01.png").unlink()
    Image.new("L", (7, 9)).save(root / "masks" / "picture-02.png")
    (root / "images" / "picture-03.png").write_bytes(b"no picture")
    content = (root / "images" / "picture-04.png").read_bytes()
    (root / "images" / "picture-04.png").write_bytes(content[: len(content) // 2])
    (root / "images" / "picture-05.png").write_bytes(b"")
    return {f"set/picture-0{number}" for number in range(1, 6)}


@pytest.mark.parametrize("holdout", [0.0, 0.5])
def test_all_pairs_that_cannot_be_used_are_named_before_the_first_step(configured, root, tmp_path, holdout):
    expected = _spoil(root)
    with pytest.raises(BadPictures) as caught:
        train(configured(holdout=holdout), tmp_path / "run")
    assert {name for name, _ in caught.value.failures} == expected
    assert len(caught.value.failures) == 5
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_pairs_that_cannot_be_used_are_named_and_left_out(configured, root, tmp_path, caplog):
    expected = _spoil(write_pairs(root, 20))
    config = configured(on_bad="skip", holdout=0.5, validate_every=2)
    train(config, tmp_path / "run")
    assert {message.split(": ")[0].removeprefix("left out ") for message in caplog.messages} == expected
    assert len(caplog.messages) == 5


def test_faults_of_data_to_validate_on_are_found_before_the_first_step(configured, root, tmp_path):
    other = write_pairs(tmp_path / "other", 4)
    (other / "images" / "picture-02.png").write_bytes(b"no picture")
    with pytest.raises(BadPictures, match="picture-02"):
        train(configured(validation=(str(other),)), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_two_data_sets_of_one_name_are_both_validated_on(configured, tmp_path):
    roots = [write_pairs(tmp_path / name / "test", num) for name, num in (("a", 3), ("b", 4))]
    result = train(configured(validation=tuple(map(str, roots)), max_steps=1), tmp_path / "run")
    (row,) = (row for row in read_rows(tmp_path / "run" / "metrics.jsonl") if "validation" in row)
    assert len(row["validation"]) == 2
    assert len({name.split()[0] for name in result.scores}) == 2


def test_without_data_the_error_says_so(configured, tmp_path):
    with pytest.raises(InvalidDataset, match="nothing to train on"):
        train(configured(data=()), tmp_path / "run")
