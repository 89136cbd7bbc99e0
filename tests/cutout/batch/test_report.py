import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pictures import saved
from PIL import Image
from server.browser import chromium

from cutout.batch.folders import write_pictures
from u2net.cutout.batch.plan import Outcome
from u2net.cutout.batch.report import Gallery
from u2net.cutout.config import CutoutConfig

HOSTILE = '<img src=x onerror=alert(1)> & "quotes".png'


class _Page(HTMLParser):
    """Texts, links and images of a page, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.texts, self.links, self.images, self.tags = [], [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "a":
            self.links.append(dict(attributes)["href"])
        if tag == "img":
            self.images.append(dict(attributes)["src"])

    def handle_data(self, data):
        self.texts.append(data)


class Shop:
    """Pictures, their cut-outs, and a gallery of them."""

    def __init__(self, root: Path, num: int, **asked) -> None:
        self.folder, self.output, self.path = root / "in", root / "out", root / "report.html"
        self.sources = write_pictures(self.folder, num)
        self.output.mkdir()
        self.gallery = Gallery(self.folder, self.output, CutoutConfig(**asked).asked(), most=5)

    def done(self, source: Path, confidence: float) -> None:
        target = self.output / f"{source.stem}.png"
        target.write_bytes(saved(Image.new("RGBA", (64, 48), (255, 0, 0, 90)), "PNG"))
        self.gallery.add(Outcome(source, target, "done", confidence=confidence, target_sha256="ab"))

    def page(self) -> _Page:
        self.gallery.write(self.path)
        return _Page(self.path)


def test_the_least_sure_come_first_and_no_more_than_a_page_bears(tmp_path):
    shop = Shop(tmp_path, 9)
    for source, confidence in zip(shop.sources, (0.9, 0.2, 0.8, 0.1, 0.7, 0.3, 0.6, 0.4, 0.5), strict=True):
        shop.done(source, confidence)
    page = shop.page()
    assert [text for text in page.texts if re.fullmatch(r"\d{4}\.\w+", text)] == [
        "0003.png",
        "0001.png",
        "0005.png",
        "0007.png",
        "0008.png",
    ]
    assert any("5 of 9" in text for text in page.texts)


def test_cut_outs_are_linked_and_everything_seen_is_in_the_file(tmp_path):
    shop = Shop(tmp_path, 1)
    shop.done(shop.sources[0], 0.5)
    page = shop.page()
    assert page.links == ["out/0000.png"]
    assert len(page.images) == 2
    assert all(source.startswith("data:image/webp;base64,") for source in page.images)


def test_failures_are_told_with_their_reasons_and_are_bounded_too(tmp_path):
    shop = Shop(tmp_path, 0)
    for i in range(7):
        shop.gallery.add(Outcome(shop.folder / f"{i}.jpg", None, "failed", f"reason {i}"))
    texts = shop.page().texts
    assert sum("reason" in text for text in texts) == 5
    assert any("5 of 7" in text for text in texts)


def test_a_picture_without_a_subject_is_shown_without_a_cut_out(tmp_path):
    shop = Shop(tmp_path, 1)
    shop.gallery.add(Outcome(shop.sources[0], shop.output / "0000.png", "skipped", "no subject found", 0.03))
    page = shop.page()
    assert (len(page.images), page.links) == (1, [])
    assert "no subject found" in page.texts


def test_what_is_gone_is_said_to_be(tmp_path):
    shop = Shop(tmp_path, 1)
    shop.done(shop.sources[0], 0.5)
    shop.sources[0].unlink()
    assert any("no longer readable" in text for text in shop.page().texts)


def test_names_and_reasons_cannot_become_html(tmp_path):
    shop = Shop(tmp_path, 1)
    hostile = shop.sources[0].rename(shop.folder / HOSTILE)
    shop.done(hostile, 0.5)
    shop.gallery.add(Outcome(shop.folder / "a.jpg", None, "failed", "<script>alert(1)</script>"))
    page = shop.page()
    assert "script" not in page.tags
    assert len(page.images) == 2
    assert HOSTILE in page.texts


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "the defaults"),
        ({"format": "webp", "only_mask": True}, "only_mask true, format webp"),
    ],
)
def test_what_was_asked_is_said(tmp_path, asked, words):
    assert any(text.endswith(words) for text in Shop(tmp_path, 0, **asked).page().texts)


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_fits_screens_and_shows_its_pictures(tmp_path, width):
    shop = Shop(tmp_path, 3)
    long = shop.sources[0].rename(shop.folder / f"{'long-name-' * 20}.png")
    for source in (long, *shop.sources[1:]):
        shop.done(source, 0.5)
    shop.gallery.write(shop.path)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto(shop.path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert page.evaluate("document.images.length") == 6
