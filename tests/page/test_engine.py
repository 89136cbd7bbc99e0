"""The page's arithmetic gives what Python's gives."""

import json
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pictures import photo, read_image
from PIL import Image
from server.browser import chromium

from u2net.cutout.finish import Finish
from u2net.cutout.matting.foreground import foreground
from u2net.cutout.matting.refine import refine
from u2net.cutout.matting.small import mask_size, reduced
from u2net.images.picture import Picture
from u2net.inference.session import subject_confidence
from u2net.models.card import Card
from u2net.models.onnx_file import read_metadata
from u2net.models.transform import AUTHORS, REMBG, Transform
from u2net.models.zoo import WEIGHTS
from u2net.page import page_files

from .engine import Engine, hosted

PACKAGED = Transform(antialias=True, divisor="255", stretch=False, upsample="bicubic")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "engine").mkdir()
    for name, path in page_files("alone").items():
        if name.startswith("engine/"):
            (folder / name).write_bytes(path.read_bytes())
    for path in WEIGHTS.glob("*.onnx"):
        (folder / path.name).symlink_to(path)
    (folder / "blank.html").write_text("<!doctype html><title>blank</title>")
    with chromium() as browser, hosted(folder) as address:
        page = browser.new_page()
        page.goto(f"{address}blank.html")
        yield Engine(page, address)


def rgba(image: Image.Image, alpha: np.ndarray | int = 255) -> np.ndarray:
    """(H, W, 4)."""
    rgb = np.asarray(image)
    return np.concatenate([rgb, np.broadcast_to(np.uint8(alpha), rgb.shape[:2])[..., None]], axis=2)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def disc(width: int, height: int) -> np.ndarray:
    """A mask with a wide soft outline."""
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot(x - width / 2, y - height / 2) / (height / 3)
    return (255 * np.clip(4 * (1.12 - distance), 0, 1)).astype(np.uint8)


def as_text(transform: Transform) -> dict:
    return json.loads(json.dumps(asdict(transform)))


# ---- Sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["box", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(7, 5), (23, 61), (40, 13), (17, 30), (23, 30)])
def test_resampling_is_pillows_bit_for_bit(engine, kernel, size):
    values = noise(30, 23, 3)
    found = engine(
        "return (await load('resample')).resampled(given.values, [23, 30], given.size, given.kernel, given.layout)",
        values=np.concatenate([values, noise(30, 23, 1, seed=1)], axis=2),
        size=size,
        kernel=kernel,
        layout={"stride": 4, "channels": 3},
    )
    expected = Image.fromarray(values).resize(size, Image.Resampling[kernel.upper()])
    assert np.array_equal(found.reshape(size[1], size[0], 3), np.asarray(expected))


@pytest.mark.parametrize("size", [(600, 400), (512, 341), (341, 512), (100, 7), (1, 1), (4000, 3), (2048, 9)])
def test_the_small_picture_and_masks_of_large_ones_have_the_same_size(engine, size):
    small, mask = engine(
        "const of = await load('small'); return [of.smallSize(...given.size), of.maskSize(...given.size)]", size=size
    )
    assert tuple(small) == reduced(np.zeros(size[::-1], np.uint8)).shape[::-1]
    assert tuple(mask) == mask_size(size)


# ---- In and out of the network -------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [AUTHORS, REMBG, PACKAGED], ids=["authors", "rembg", "packaged"])
@pytest.mark.parametrize("kind", ["photograph", "small", "black", "transparent", "white on nothing"])
def test_the_network_is_fed_the_same(engine, transform, kind):
    transform = replace(transform, size=(40, 24))
    image, alpha = photo(131, 90), None
    if kind == "small":
        image = photo(9, 30)
    elif kind == "black":
        image = Image.new("RGB", (50, 50))
    elif kind != "photograph":
        alpha = Image.fromarray(disc(*image.size))
        image = image if kind == "transparent" else Image.new("RGB", image.size, "white")
    picture = Picture(image, alpha, None)
    samples = transform.samples(image.size)
    seen = picture.view() if samples is None else picture.at(*samples).view()
    found = engine(
        """const { fed, newTransform } = await load("transform");
        const picture = { data: given.data, width: given.size[0], height: given.size[1] };
        return fed(picture, newTransform(given.transform))""",
        data=rgba(image, 255 if alpha is None else np.asarray(alpha)),
        size=image.size,
        transform=as_text(transform),
    )
    expected = transform.preprocess(seen, None if samples is None else image.size)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=2e-5)


@pytest.mark.parametrize("size", [(96, 60), (10, 7)])
@pytest.mark.parametrize(
    "change",
    [{}, {"stretch": False}, {"output": "logits", "upsample": "bicubic"}, {"upsample": "lanczos"}],
    ids=["authors", "as it is", "logits", "lanczos"],
)
@pytest.mark.parametrize("classes", [1, 4])
def test_masks_are_the_same_bit_for_bit(engine, size, change, classes):
    transform = replace(AUTHORS, **change)
    output = np.random.default_rng(0).random((classes, 12, 20), dtype=np.float32)
    output = 12 * output - 6 if transform.output == "logits" else 0.1 + output / (1 + classes)
    found = engine(
        """const { maskOf, newTransform, probability } = await load("transform");
        const transform = newTransform(given.transform);
        const saliency = probability({ data: given.data, classes: given.classes }, transform);
        return maskOf(saliency, [20, 12], given.size, transform)""",
        data=output.astype(np.float32),
        classes=classes,
        size=size,
        transform=as_text(transform),
    )
    assert np.abs(found.reshape(size[::-1]).astype(int) - transform.mask(output, size)).max() <= (
        1 if transform.output == "logits" else 0
    )


def test_a_map_that_is_the_same_everywhere_stays(engine):
    found = engine(
        """const { maskOf, newTransform } = await load("transform");
        return maskOf(new Float32Array(16).fill(0.5), [4, 4], [4, 4], newTransform({}))"""
    )
    assert set(found) == {127}


@pytest.mark.parametrize("sharpness", [1.0, 1.8])
def test_confidence_is_the_same(engine, sharpness):
    for seed, most in enumerate((0.02, 0.5, 0.97)):
        values = (most * np.random.default_rng(seed).random((48, 64))).astype(np.float32)
        found = engine(
            "return (await load('confidence')).subjectConfidence(given.values, given.sharpness)",
            values=values,
            sharpness=sharpness,
        )
        assert found == pytest.approx(subject_confidence(values, sharpness), abs=1e-6)


# ---- Cards ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.onnx")), ids=lambda path: path.name)
def test_a_packaged_files_metadata_and_card_are_read(engine, path):
    body = """const { cardOf, metadataOf } = await load("card");
        const file = new Uint8Array(await (await fetch(given.name)).arrayBuffer());
        return JSON.stringify([Object.fromEntries(metadataOf(file)), cardOf(file)])"""
    metadata, card = json.loads(engine(body, name=path.name))
    assert metadata == read_metadata(path)
    expected = Card.from_json(metadata["u2net.card"])
    assert card["transform"] == as_text(expected.transform)
    assert (card["name"], card["sharpness"], card["numClasses"]) == (expected.name, expected.sharpness, 2)


def test_a_file_without_a_card_is_fed_as_the_authors_feed_theirs(engine):
    card = json.loads(engine("return JSON.stringify((await load('card')).cardOf(new Uint8Array()))"))
    assert card["transform"] == as_text(AUTHORS)


@pytest.mark.parametrize(
    "content", [b"\x72", b"\x72\xff", b"\x0b", b"\x09\x00", b"<html>", b"\x72\x04\x0a\x02\xff\xff"]
)
def test_what_is_no_onnx_file_is_refused(engine, content):
    body = "return (await load('card')).metadataOf(given.file).size"
    with pytest.raises(Exception, match="no ONNX file, or a damaged one"):
        engine(body, file=np.frombuffer(content, np.uint8))


@pytest.mark.parametrize("fields", [{"resample": "lanczos"}, {"size": [0, 3]}, {"upsample": "no"}, {"crop": True}])
def test_a_transform_that_makes_no_sense_is_refused(engine, fields):
    with pytest.raises(Exception, match="The model's card"):
        engine("return (await load('transform')).newTransform(given.fields)", fields=fields)


# ---- Outlines and colours ------------------------------------------------------------------------------------


def scene(size: tuple[int, int], photograph: Path) -> tuple[Image.Image, np.ndarray]:
    return read_image(photograph).convert("RGB").resize(size), disc(*size)


@pytest.mark.parametrize("size", [(600, 400), (301, 517), (90, 60), (2500, 300)])
@pytest.mark.parametrize("kind", ["soft", "at the limits of what is certain", "with specks"])
def test_outlines_are_refined_as_fast_does_it(engine, photograph, size, kind):
    image, mask = scene(size, photograph)
    if size == (2500, 300):
        mask = disc(*mask_size(size))
    if kind == "with specks":
        mask[: len(mask) // 8, : mask.shape[1] // 8] = 60
    elif kind != "soft":
        stripes = np.arange(mask.shape[0])[:, None] // 20 % 3
        mask = (np.where(mask > 128, 249, 4) + stripes).astype(np.uint8)
    found = engine(
        """const picture = { data: given.data, width: given.size[0], height: given.size[1] };
        return (await load("refine")).refined(picture, given.mask, [given.shape[1], given.shape[0]])""",
        data=rgba(image),
        mask=mask,
        shape=mask.shape,
        size=size,
    )
    expected = refine(image, mask, "fast")
    difference = np.abs(found.reshape(expected.shape).astype(int) - expected)
    assert difference.max() <= 1
    assert np.any((expected > 0) & (expected < 255))


@pytest.mark.parametrize("size", [(600, 400), (301, 517), (90, 61), (3300, 1100)])
def test_colours_are_cleaned_the_same(engine, photograph, size):
    image, mask = scene(size, photograph)
    data = engine(
        """const picture = { data: given.data, width: given.size[0], height: given.size[1] };
        (await load("foreground")).cleanColors(picture, given.mask);
        return picture.data""",
        data=rgba(image),
        mask=mask,
        size=size,
    )
    expected = np.asarray(foreground(image, mask)).astype(int)
    assert np.abs(data.reshape(*mask.shape, 4)[:, :, :3] - expected).max() <= 1
    assert np.abs(np.asarray(image) - expected).max() > 20


def test_a_cut_out_is_pythons_and_comes_whole_out_of_its_file(engine, photograph):
    image, mask = scene((203, 157), photograph)
    own = noise(157, 203, seed=3) | 128
    file = engine(
        """const picture = { data: given.data, width: 203, height: 157 };
        const cut = (await load("cutout")).cutOut(picture, given.mask);
        return new Uint8Array(await (await (await load("png")).encodedPng(cut)).arrayBuffer())""",
        data=rgba(image, own),
        mask=mask,
    )
    found = Image.open(BytesIO(file.tobytes()))
    found.verify()
    found = np.asarray(Image.open(BytesIO(file.tobytes()))).astype(int)
    expected = np.asarray(Finish(clean=True).apply(Picture(image, Image.fromarray(own), None), mask)).astype(int)
    assert found.shape == expected.shape == (157, 203, 4)
    assert np.array_equal(found[:, :, 3], expected[:, :, 3])
    assert np.array_equal(found.any(axis=2), expected.any(axis=2))
    assert np.abs(found - expected).max() <= 1
