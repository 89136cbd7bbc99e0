"""A contact sheet: what was found and how the rest looks, masks over their pictures."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import zip_longest
from os import PathLike

from PIL import Image, ImageDraw, ImageFont

from u2net.evaluation.check.findings import Finding, Report, Severity
from u2net.evaluation.check.overlay import class_colour, draw_example, side_by_side
from u2net.evaluation.dataset import Example
from u2net.images.save import save_image

_COLUMNS = 5
_PANEL = (280, 210)
_GAP, _LINE = 14, 17
_FONT_SIZE = 13
_MAX_LINES = 4  # of a caption
_MAX_NOTES = 5  # of one kind
_INKS: dict[Severity, tuple[int, int, int]] = {"error": (190, 20, 40), "warning": (176, 96, 0), "note": (40, 90, 160)}
_GREY = (90, 90, 90)

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class _Tile:
    dataset: str
    example: Example
    findings: list[Finding]
    """Of this example, the worst first; none for one of the sample."""


def save_sheet(report: Report, path: str | PathLike[str], num: int = 60) -> None:
    """Write at most `num` examples as .png, .webp or .jpg: those with findings, then an even sample of the others.

    Each kind of finding is there before any has a second example, and notes with five examples at most. The sample has
    at least a quarter of the places, if there are as many.
    Raises UnsupportedFormat for another suffix, and OSError.
    """
    gathered = _gather(report)
    faulty = _pick([tile for tile in gathered if tile.findings], num - num // 4)
    sound = [tile for tile in gathered if not tile.findings]
    places = num - len(faulty)
    step = max(len(sound) / places, 1.0)
    tiles = faulty + [sound[int(i * step)] for i in range(min(places, len(sound)))]
    titles = _titles(report)
    tile_height = _PANEL[1] + 8 + _MAX_LINES * _LINE + _GAP
    top = _GAP + (len(titles) + (len(report.classes) > 2)) * (_LINE + 4) + _GAP
    rows = -(-len(tiles) // _COLUMNS)
    sheet = Image.new("RGB", (_GAP + _COLUMNS * (_PANEL[0] + _GAP), top + rows * tile_height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE + 2)
    for index, (text, ink) in enumerate(titles):
        draw.text((_GAP, _GAP + index * (_LINE + 4)), _fit(text, font, sheet.width - 2 * _GAP), ink, font)
    if len(report.classes) > 2:
        _draw_legend(draw, report.classes, _GAP + len(titles) * (_LINE + 4), sheet.width)
    for index, tile in enumerate(tiles):
        corner = _GAP + index % _COLUMNS * (_PANEL[0] + _GAP), top + index // _COLUMNS * tile_height
        _draw_tile(sheet, tile, corner, len(report.classes))
    save_image(sheet, path)


def _gather(report: Report) -> list[_Tile]:
    """Every example with its findings, in the order of the worst of them, then of data sets."""
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
    """The first of each kind, then the second, until there are enough; in their old order."""
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
    """Names of classes behind their colours, as many as fit into a line."""
    left, font = _GAP, ImageFont.load_default(_FONT_SIZE)
    for index, name in list(enumerate(classes))[1:]:
        text = _fit(name, font, _PANEL[0])
        if left + 20 + font.getlength(text) > width - _GAP:
            break
        draw.rectangle((left, top + 2, left + 12, top + 14), class_colour(index, len(classes)))
        draw.text((left + 18, top), text, (0, 0, 0), font)
        left += 18 + round(font.getlength(text)) + _GAP


def _draw_tile(sheet: Image.Image, tile: _Tile, corner: tuple[int, int], num_classes: int) -> None:
    left, top = corner
    panel = draw_example(tile.example, num_classes, _PANEL)
    other = next((finding.other for finding in tile.findings if finding.other), None)
    if other:
        panel = side_by_side([panel, draw_example(other, num_classes, _PANEL)], _PANEL)
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
    """A text in the characters of Pillow's own font, which has those of ASCII and few besides."""
    plain = unicodedata.normalize("NFKD", text.replace("×", " x "))
    bare = (c for c in plain if not unicodedata.combining(c))
    return "".join(c if (c.isascii() and c.isprintable()) or c == "…" else "?" for c in bare)
