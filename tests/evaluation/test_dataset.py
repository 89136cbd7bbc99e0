import tarfile

import numpy as np
import pytest
from needs import needs_links
from pictures import files
from PIL import Image

from u2net.errors import InvalidDataset
from u2net.evaluation.dataset import list_sources, load_indices, open_dataset, open_pairs

LAYOUTS = {
    "DUTS": ("DUTS-TE-Image/{}.jpg", "DUTS-TE-Mask/{}.png"),
    "ECSSD": ("images/{}.jpg", "ground_truth_mask/{}.png"),
    "PASCAL-S": ("datasets/imgs/pascal/{}.jpg", "datasets/masks/pascal/{}.png"),
    "HKU-IS": ("imgs/{}.png", "gt/{}.png"),
    "DUT-OMRON": ("DUT-OMRON-image/{}.jpg", "pixelwiseGT-new-PNG/{}.png"),
    "SOD": ("Imgs/{}.jpg", "Imgs/{}.png"),
    "authors": ("im_aug/{}.jpg", "gt_aug/{}.png"),
    "lengths": ("full_length/{}.jpg", "labels/{}.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_told_by_their_folders(tmp_path, layout):
    image, mask = LAYOUTS[layout]
    root = files(tmp_path / "gt-masks", *(form.format(stem) for stem in ("a", "b") for form in (image, mask)))
    for example in open_dataset(root):
        assert str(example.image.name).endswith(image.format(example.name))
        assert str(example.mask.name).endswith(mask.format(example.name))


def test_an_archive_is_read_where_it_lies(tmp_path):
    files(tmp_path, "images/a.jpg", "masks/a.png")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name in ("images/a.jpg", "masks/a.png"):
            archive.add(tmp_path / name, name)
    (example,) = open_dataset(tmp_path / "set.tar")
    assert (example.image.read(), example.mask.read()) == (b"images/a.jpg", b"masks/a.png")


def test_names_match_whatever_their_suffix_and_order(tmp_path):
    files(tmp_path, "x/b.webp", "x/a.jpg", "y/a.png", "y/b.bmp")
    dataset = open_pairs(tmp_path / "x", tmp_path / "y")
    assert [(e.name, e.image.name.name, e.mask.name.name) for e in dataset] == [
        ("a", "a.jpg", "a.png"),
        ("b", "b.webp", "b.bmp"),
    ]


def test_what_has_no_counterpart_stays_visible(tmp_path):
    files(tmp_path, "x/a.jpg", "x/b.jpg", "y/b.png", "y/c.png")
    found = {e.name: (e.image is not None, e.mask is not None) for e in open_pairs(tmp_path / "x", tmp_path / "y")}
    assert found == {"a": (True, False), "b": (True, True), "c": (False, True)}


def test_the_layout_is_said_in_words(tmp_path):
    files(tmp_path, "images/a.jpg", "masks/a.png")
    assert open_dataset(tmp_path).layout == "pictures: 1 in images/*.jpg; masks: 1 in masks/*.png"


def test_hidden_and_other_files_are_left_out(tmp_path):
    files(tmp_path, "images/a.jpg", "images/.b.jpg", "images/notes.txt", "masks/a.png", ".cache/masks/c.png")
    assert len(open_dataset(tmp_path)) == 1


@needs_links
def test_links_to_folders_are_followed(tmp_path):
    files(tmp_path / "elsewhere", "deep/a.jpg", "truth/a.png")
    root = files(tmp_path / "set", "readme.txt")
    (root / "images").symlink_to("../elsewhere/deep")
    (root / "masks").symlink_to(tmp_path / "elsewhere/truth")
    (tmp_path / "link").symlink_to(root)
    for place in (root, tmp_path / "link"):
        (example,) = open_dataset(place)
        assert (example.image.read(), example.mask.read()) == (b"deep/a.jpg", b"truth/a.png")


@needs_links
def test_links_that_lead_back_or_to_what_is_read_already_add_nothing(tmp_path):
    root = files(tmp_path / "set", "images/a.jpg", "masks/a.png", ".hidden/b.jpg")
    files(tmp_path / "elsewhere", "more/b.jpg")
    (tmp_path / "other.jpg").write_bytes(b"")
    (root / "again").symlink_to("masks")
    (root / "images/all").symlink_to(root)
    (root / "images/up").symlink_to(tmp_path)
    (root / "images/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(root / "images")
    (root / "broken").symlink_to("nowhere")
    assert [source.name.relative_to(root).as_posix() for source in list_sources(root)] == [
        "images/a.jpg",
        "images/more/more/b.jpg",
        "masks/a.png",
    ]


@needs_links
def test_links_that_lead_nowhere_are_named_where_pictures_are_missed(tmp_path):
    (tmp_path / "images").symlink_to("/media/unplugged/images")
    with pytest.raises(InvalidDataset, match="holds no pictures; links that lead nowhere: images"):
        open_dataset(tmp_path)
    with pytest.raises(InvalidDataset, match="folders with pictures: masks; links that lead nowhere: images; give"):
        open_dataset(files(tmp_path, "masks/a.png"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "no pictures"),
        (("readme.txt",), "no pictures"),
        (("photos/a.jpg",), "photos"),
        (("masks/a.png",), "masks"),
        (("images/a.jpg", "masks/a.png", "masks/more/a.png"), "two files are called a"),
    ],
)
def test_what_is_no_data_set_is_refused_in_one_line(tmp_path, names, words):
    with pytest.raises(InvalidDataset, match=words) as caught:
        open_dataset(files(tmp_path, *names))
    assert "\n" not in str(caught.value)


def test_folders_whose_names_never_meet_are_refused(tmp_path):
    files(tmp_path, "x/a.jpg", "y/b.png")
    with pytest.raises(InvalidDataset, match="no picture of"):
        open_pairs(tmp_path / "x", tmp_path / "y")


def test_masks_may_have_an_ending_that_pictures_have_not(tmp_path):
    root = files(tmp_path, "all/a.jpg", "all/a_mask.png", "all/a_edge.png", "all/b.jpg", "all/b_mask.png")
    for suffix in ("_mask", "_mask.png"):
        dataset = open_pairs(root / "all", root / "all", mask_suffix=suffix)
        assert [e.name for e in dataset if e.is_pair] == ["a", "b"]
    apart = files(tmp_path / "apart", "images/a.jpg", "masks/a_mask.png", "masks/a_edge.png")
    assert [(e.name, e.mask.name.name) for e in open_dataset(apart, mask_suffix="_mask")] == [("a", "a_mask.png")]


def test_a_data_set_without_the_ending_is_matched_by_whole_names(tmp_path):
    assert len(open_dataset(files(tmp_path, "images/a.jpg", "masks/a.png"), mask_suffix="_mask")) == 1


def test_what_is_not_there_and_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\3\4")
    for path in (tmp_path / "nowhere", tmp_path / "a.zip"):
        with pytest.raises(InvalidDataset):
            open_dataset(path)


def test_masks_of_classes_are_read_as_indices_whatever_their_palette(tmp_path):
    indices = np.array([[0, 1, 2], [2, 255, 1]], np.uint8)
    mask = Image.fromarray(indices)
    mask.putpalette([200, 100, 0, 200, 100, 0, 7, 7, 7] + [5] * 759)
    mask.save(tmp_path / "a.png")
    (source,) = list_sources(tmp_path)
    np.testing.assert_array_equal(load_indices(source), indices)


def test_parts_share_a_data_set_out(tmp_path):
    names = [f"{folder}/{i}.{kind}" for i in range(5) for folder, kind in (("images", "jpg"), ("masks", "png"))]
    dataset = open_dataset(files(tmp_path, *names))
    assert [[example.name for example in dataset.part(i, 2)] for i in range(2)] == [["0", "2", "4"], ["1", "3"]]
    assert len(dataset.part(5, 6)) == 0
