"""A contact sheet of masks over their pictures: examples with findings, then a sample of the others."""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from os import PathLike
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from u2net.errors import InvalidImage
from u2net.evaluation.check.example import SUBJECT
from u2net.evaluation.check.findings import Finding, Report, Severity
from u2net.evaluation.dataset import Example, Source, load_grey, load_indices
from u2net.images.load import load_image
from u2net.images.save import save_image

_COLUMNS = 5
_PANEL = (280, 210)
_GAP, _LINE = 14, 17
_FONT_SIZE = 13
_MAX_LINES = 4  # of a caption
_MAX_NOTES = 5  # of one kind
_INKS: dict[Severity, tuple[int, int, int]] = {"error": (190, 20, 40), "warning": (176, 96, 0), "note": (40, 90, 160)}
_GREY = (90, 90, 90)

_OPACITY = 0.45
_SUBJECT_COLOUR = (255, 0, 130)  # few subjects have it

T = TypeVar("T")
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class _Tile:
    dataset: str
    example: Example
    findings: list[Finding]
    """Of this example, the worst first; empty in the sample."""


def save_sheet(report: Report, path: str | PathLike[str], num: int = 60) -> None:
    """Draw at most `num` examples into a .png, .webp or .jpg: those with findings, then an even sample of the others.

    Every kind of finding gets one example before any gets a second, and a kind of note at most five. At least a quarter
    of the places are for the sample. Raises UnsupportedFormat for another suffix, and OSError.
    """
    gathered = _gather(report)
    faulty = _pick([tile for tile in gathered if tile.findings], num - num // 4)
    sound = [tile for tile in gathered if not tile.findings]
    places = num - len(faulty)
    step = max(len(sound) / places, 1.0)
    tiles = faulty + [sound[int(i * step)] for i in range(min(places, len(sound)))]
    titles, has_legend = _titles(report), len(report.classes) > 2
    tile_height = _PANEL[1] + 8 + _MAX_LINES * _LINE + _GAP
    top = _GAP + (len(titles) + has_legend) * (_LINE + 4) + _GAP
    rows = -(-len(tiles) // _COLUMNS)
    sheet = Image.new("RGB", (_GAP + _COLUMNS * (_PANEL[0] + _GAP), top + rows * tile_height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE + 2)
    for index, (text, ink) in enumerate(titles):
        draw.text((_GAP, _GAP + index * (_LINE + 4)), _fit(text, font, sheet.width - 2 * _GAP), ink, font)
    if has_legend:
        _draw_legend(draw, report.classes, _GAP + len(titles) * (_LINE + 4), sheet.width)
    for index, tile in enumerate(tiles):
        corner = _GAP + index % _COLUMNS * (_PANEL[0] + _GAP), top + index // _COLUMNS * tile_height
        _draw_tile(sheet, tile, corner, len(report.classes))
    save_image(sheet, path)


def _gather(report: Report) -> list[_Tile]:
    """Every example with its findings: the worst first, then in the order of data sets."""
    tiles: dict[int, _Tile] = {}
    for finding in report.findings:
        if finding.example:
            tile = tiles.setdefault(id(finding.example), _Tile(finding.dataset, finding.example, []))
            tile.findings.append(finding)
    for examined in report.examined:
        for example in examined.dataset:
            tiles.setdefault(id(example), _Tile(examined.dataset.name, example, []))
    return list(tiles.values())


def _pick(tiles: list[_Tile], num: int) -> list[_Tile]:
    """The first of each kind, then the second, until there are `num`; in their old order."""
    kinds: dict[str, list[_Tile]] = {}
    for tile in tiles:
        alike = kinds.setdefault(tile.findings[0].kind, [])
        if tile.findings[0].severity != "note" or len(alike) < _MAX_NOTES:
            alike.append(tile)
    taken = [tile for turn in zip_longest(*kinds.values()) for tile in turn if tile is not None][:num]
    return [tile for tile in tiles if any(tile is one for one in taken)]


def _titles(report: Report) -> list[tuple[str, tuple[int, int, int]]]:
    names = ", ".join(f"{examined.dataset.name} ({examined.role})" for examined in report.examined)
    titles = [(f"{names}: {report.summary()}", (0, 0, 0))]
    titles += [(f"{f.kind}: {f.dataset}: {f.detail}", _INKS[f.severity]) for f in report.findings if not f.example]
    if len(report.classes) == 2:
        titles.append(("What a mask calls subject is tinted pink, up to the white line.", _GREY))
    return titles


def _draw_legend(draw: ImageDraw.ImageDraw, classes: list[str], top: int, width: int) -> None:
    """Colours and names of classes, as many as fit into a line."""
    left, font, colours = _GAP, ImageFont.load_default(_FONT_SIZE), _palette(len(classes)).tolist()
    for index, name in list(enumerate(classes))[1:]:
        text = _fit(name, font, _PANEL[0])
        if left + 20 + font.getlength(text) > width - _GAP:
            break
        draw.rectangle((left, top + 2, left + 12, top + 14), tuple(colours[index]))
        draw.text((left + 18, top), text, (0, 0, 0), font)
        left += 18 + round(font.getlength(text)) + _GAP


def _draw_tile(sheet: Image.Image, tile: _Tile, corner: tuple[int, int], num_classes: int) -> None:
    left, top = corner
    panel = draw_example(tile.example, num_classes, _PANEL)
    other = next((finding.other for finding in tile.findings if finding.other), None)
    if other:
        panel = _side_by_side(panel, draw_example(other, num_classes, _PANEL), _PANEL)
    sheet.paste(panel, (left + (_PANEL[0] - panel.width) // 2, top + _PANEL[1] - panel.height))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    lines = [(f"{tile.dataset}/{tile.example.name}", _GREY if not tile.findings else (0, 0, 0))]
    for finding in tile.findings:
        lines += [(text, _INKS[finding.severity]) for text in _wrap(f"{finding.kind}: {finding.detail}", font)]
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES - 1 :] = [(lines[_MAX_LINES - 1][0] + " …", lines[_MAX_LINES - 1][1])]
    for index, (text, ink) in enumerate(lines):
        draw.text((left, top + _PANEL[1] + 8 + index * _LINE), _fit(text, font, _PANEL[0]), ink, font)


def _wrap(text: str, font: _Font) -> list[str]:
    """A text in lines that fit below a panel, broken at spaces."""
    lines = [""]
    for word in _drawable(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > _PANEL[0]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _fit(text: str, font: _Font, width: int) -> str:
    """A text cut to a width in pixels."""
    text = _drawable(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _drawable(text: str) -> str:
    """A text in the characters of Pillow's own font, which has little but ASCII."""
    plain = unicodedata.normalize("NFKD", text.replace("×", " x "))
    bare = (c for c in plain if not unicodedata.combining(c))
    return "".join(c if (c.isascii() and c.isprintable()) or c == "…" else "?" for c in bare)


def draw_example(example: Example, num_classes: int, size: tuple[int, int]) -> Image.Image:
    """The mask over the picture, within `size`; side by side if they differ in size.

    A file that is missing or cannot be read becomes a crossed box.
    """
    picture = _loaded(example.image, lambda source: load_image(source.read()).view())
    labels = _loaded(example.mask, load_grey if num_classes == 2 else load_indices)  # levels or indices
    if picture is None or labels is None or picture.size != labels.shape[::-1]:
        shown = _crossed(size)
        if labels is not None:
            shown = Image.fromarray(labels if num_classes == 2 else _palette(num_classes)[labels]).convert("RGB")
        return _side_by_side(picture or _crossed(size), shown, size)
    picture = ImageOps.contain(picture, size)
    resample = Image.Resampling.BOX if num_classes == 2 else Image.Resampling.NEAREST
    mask = np.asarray(Image.fromarray(labels).resize(picture.size, resample))
    return Image.fromarray(_laid_over(np.asarray(picture), mask, num_classes))


def _side_by_side(left: Image.Image, right: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Two panels within `size`, with a gap between them."""
    gap = 6
    left, right = (ImageOps.contain(panel, ((size[0] - gap) // 2, size[1])) for panel in (left, right))
    row = Image.new("RGB", (left.width + gap + right.width, max(left.height, right.height)), "white")
    row.paste(left, (0, (row.height - left.height) // 2))
    row.paste(right, (left.width + gap, (row.height - right.height) // 2))
    return row


def _palette(num_classes: int) -> NDArray[np.uint8]:
    """uint8 (256, 3): the background black, classes in hues evenly apart, indices that are no class grey."""
    colours = np.full((256, 3), 128, np.uint8)
    colours[0] = 0
    for index in range(1, num_classes):
        hue = (index - 1) / (num_classes - 1)
        colours[index] = np.rint(np.multiply(255, colorsys.hsv_to_rgb(hue, 0.9, 1.0)))
    if num_classes == 2:
        colours[1] = _SUBJECT_COLOUR
    return colours


def _loaded(source: Source | None, load: Callable[[Source], T]) -> T | None:
    """A file's content; None if there is no file, or it cannot be read."""
    try:
        return load(source) if source else None
    except (InvalidImage, OSError):
        return None


def _laid_over(picture: NDArray[np.uint8], mask: NDArray[np.uint8], num_classes: int) -> NDArray[np.uint8]:
    """The mask's colours over the picture, as strong as its levels, with a light outline."""
    labels = (mask >= SUBJECT).astype(np.uint8) if num_classes == 2 else mask
    strength = (mask / 255 if num_classes == 2 else labels > 0)[..., None] * _OPACITY
    tinted = picture * (1 - strength) + _palette(num_classes)[1 if num_classes == 2 else labels] * strength
    tinted[:, :-1][labels[:, :-1] != labels[:, 1:]] = 255  # pixels with another class to the right,
    tinted[:-1][labels[:-1] != labels[1:]] = 255  # and below
    return np.asarray(np.rint(tinted), np.uint8)


def _crossed(size: tuple[int, int]) -> Image.Image:
    width, height = size
    box = Image.new("RGB", size, (238, 238, 238))
    draw = ImageDraw.Draw(box)
    draw.line((0, 0, width, height), fill=(190, 190, 190), width=2)
    draw.line((0, height, width, 0), fill=(190, 190, 190), width=2)
    return box
