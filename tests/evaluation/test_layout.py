import re
import shlex
from pathlib import PurePosixPath

import pytest
from pictures import files

from u2net.errors import InvalidDataset
from u2net.evaluation.dataset import open_dataset, open_pairs
from u2net.evaluation.layout import common_ending, role_of

LAYOUTS = {
    "AM-2k": ("original/{}.jpg", "mask/{}.png", ["trimap/{}.png", "fg/{}.png", "bg/{}.png"]),
    "P3M-10k": ("blurred_image/{}.jpg", "mask/{}.png", ["facemask/{}.png", "bg_image/{}.jpg", "fg_image/{}.png"]),
    "AIM-500": ("original/{}.jpg", "mask/{}.png", ["trimap/{}.png"]),
    "alphamatting.com": (
        "input_training_lowres/{}.png",
        "gt_training_lowres/{}.png",
        ["trimap_training_lowres/Trimap1/{}.png"],
    ),
    "PASCAL VOC": ("JPEGImages/{}.jpg", "SegmentationClass/{}.png", ["SegmentationObject/{}.png"]),
    "labelme": ("JPEGImages/{}.jpg", "SegmentationClassPNG/{}.png", ["SegmentationClassVisualization/{}.jpg"]),
    "AISegment": ("clip_img/1/clip_0/{}.jpg", "matting/1/matting_0/{}.png", []),
    "image and seg": ("image/{}.jpg", "seg/{}.png", []),
    "A and B": ("train/A/{}.png", "train/B/{}.png", []),
    "composition": ("fg/{}.png", "alpha/{}.png", ["bg/{}.jpg"]),
    "camouflage": ("Imgs/{}.jpg", "GT/{}.png", ["Edge/{}.png"]),
    "with depth": ("RGB/{}.jpg", "GT/{}.png", ["depth/{}.png"]),
    "classes": ("images/background/{}.jpg", "masks/background/{}.png", []),
    "under one name": ("matting_ground_truth/train/images/{}.jpg", "matting_ground_truth/train/masks/{}.png", []),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_and_masks_are_told_from_what_is_neither(tmp_path, layout):
    image, mask, others = LAYOUTS[layout]
    files(tmp_path / "set", *(form.format(stem) for stem in ("a", "b") for form in (image, mask, *others)))
    dataset = open_dataset(tmp_path / "set")
    assert [example.name for example in dataset] == ["a", "b"]
    for example in dataset:
        assert example.image.read().decode() == image.format(example.name)
        assert example.mask.read().decode() == mask.format(example.name)
    assert dataset.layout.count("left alone") == bool(others)


@pytest.mark.parametrize("folder", ["trimap", "val/Trimaps", "images/trimap", "masks/tri_map", "bg", "facemask"])
def test_some_folders_never_hold_pictures_or_masks(folder):
    assert role_of(PurePosixPath(folder)) == "neither"


@pytest.mark.parametrize("folder", ["playground", "ground_truth", "pixelwiseGT-new-PNG", "Segmentation", "seg"])
def test_other_words_are_not_touched_by_it(folder):
    assert role_of(PurePosixPath(folder)) == "mask"


def test_backgrounds_are_not_paired_with_masks_of_faces(tmp_path):
    with pytest.raises(InvalidDataset, match="folders with pictures: bg, facemask; give --images FOLDER"):
        open_dataset(files(tmp_path, "bg/a.jpg", "facemask/a.png"))


REFUSED = {
    "unknown names": ["left/a.jpg", "left/b.jpg", "right/a.png", "right/b.png", "sketches/a.png"],
    "unknown names in parts": ["left/1/a.jpg", "left/2/b.jpg", "right/1/a.png", "right/2/b.png"],
    "three of one name": ["images/a.jpg", "masks/a.png", "labels/a.png", "images/b.jpg", "masks/b.png"],
    "two views": ["A/a.png", "B/a.png", "label/a.png", "A/b.png", "B/b.png", "label/b.png"],
    "names that end otherwise": ["images/a.jpg", "masks/a_mask.png", "images/b.jpg", "masks/b_mask.png"],
    "names that end otherwise in one folder": ["all/a.png", "all/a_mask.png", "all/b.png", "all/b_mask.png"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_shows_the_options_that_would_do(tmp_path, case):
    with pytest.raises(InvalidDataset) as caught:
        open_dataset(files(tmp_path / "a set", *REFUSED[case]))
    options = shlex.split(re.search(r"give (--images .*)$", str(caught.value))[1])
    given = {name.removeprefix("--").replace("-", "_"): value for name, value in zip(*[iter(options)] * 2, strict=True)}
    pairs = [example for example in open_pairs(**given) if example.is_pair]
    assert [pair.name for pair in pairs] == ["a", "b"]
    assert all(pair.image.name.name[0] == pair.mask.name.name[0] == pair.name for pair in pairs)


def test_the_ending_of_most_names_is_found():
    assert common_ending(["a", "b"], ["a_sal_fuse", "b_sal_fuse", "a_sal_1", "c_x"]) == "_sal_fuse"
    assert common_ending(["a"], ["a", "b_mask"]) == ""
