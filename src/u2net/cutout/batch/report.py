"""A page of the pictures of a folder that a person should check: failures, and the least certain cut-outs."""

from __future__ import annotations

import base64
import heapq
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from u2net.cutout.batch.plan import Outcome
from u2net.cutout.config import CutoutConfig
from u2net.errors import InvalidImage
from u2net.images.load import load_image
from u2net.system.files import atomic_write

_MOST = 240  # pictures on a page, and failures; the others are only counted
_SIDE = 360  # pixels of a thumbnail's longer side, on screens of two pixels each


def may_write(path: Path) -> bool:
    """Whether a page may be written there: nothing is there yet, or an earlier page. Raises OSError."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        return path.suffix.lower() in (".html", ".htm") and b'content="u2net"' in file.read(500)


class Gallery:
    """Collects what the page shows: the `most` least certain outcomes, and the first `most` failures."""

    def __init__(self, folder: Path, output: Path, asked: dict[str, Any], most: int = _MOST) -> None:
        self._folder, self._output, self._asked, self._most = folder, output, asked, most
        self._counts: Counter[str] = Counter()
        self._failures: list[Outcome] = []
        # A heap whose first item is the most certain, which goes when a less certain one comes; the count breaks ties.
        self._least_certain: list[tuple[float, int, Outcome]] = []

    def add(self, outcome: Outcome) -> None:
        """Take in the outcome of a picture."""
        self._counts[outcome.status] += 1
        if outcome.status == "failed":
            if len(self._failures) < self._most:
                self._failures.append(outcome)
        elif outcome.confidence is not None:
            push = heapq.heappush if len(self._least_certain) < self._most else heapq.heappushpop
            push(self._least_certain, (-outcome.confidence, self._counts.total(), outcome))

    def write(self, path: Path) -> None:
        """Write the page, one HTML file with its pictures inside. Raises OSError."""
        with atomic_write(path) as file:
            for part in self._parts(path.parent):
                file.write(part.encode("utf-8", "surrogateescape"))

    def _parts(self, place: Path) -> Iterator[str]:
        title = f"Cut-outs of {self._folder.resolve().name or self._folder}"
        counts = ", ".join(f"{self._counts[status]:,} {status}" for status in ("done", "skipped", "failed"))
        yield _HEAD.format(title=escape(title), counts=counts, asked=escape(self._settings()))
        if self._failures:
            yield f"<h2>Failed{_of(len(self._failures), self._counts['failed'])}</h2><ul class=failed>"
            for outcome in self._failures:
                yield f"<li><b>{escape(self._name(outcome.source))}</b> {escape(outcome.reason)}</li>"
            yield "</ul>"
        if self._least_certain:
            num = self._counts["done"] + self._counts["skipped"]
            yield f"<h2>Least certain first{_of(len(self._least_certain), num)}</h2>"
            yield f"<p>{_HINT}</p><div class=grid>"
            for _, _, outcome in sorted(self._least_certain, key=lambda item: (-item[0], item[1])):
                yield self._figure(outcome, place)
            yield "</div>"
        yield "</html>\n"

    def _figure(self, outcome: Outcome, place: Path) -> str:
        assert outcome.confidence is not None
        before = _thumbnail(outcome.source)
        after = _thumbnail(outcome.target) if outcome.target_sha256 and outcome.target else ""
        if after and outcome.target:
            link = quote(os.fsencode(Path(os.path.relpath(outcome.target, place)).as_posix()))
            after = f'<a href="{link}">{after}</a>'
        name, percent = escape(self._name(outcome.source)), f"{outcome.confidence:.0%}"
        note = f"<small>{escape(outcome.reason)}</small>" if not after else ""
        return (
            f'<figure><div class=both>{before}{after}</div><figcaption><span title="{name}">{name}</span>'
            f'<meter value="{outcome.confidence:.3f}" low=".3" high=".7" optimum="1">{percent}</meter> {percent}{note}'
            "</figcaption></figure>"
        )

    def _settings(self) -> str:
        usual = CutoutConfig().asked()
        unusual = {key: value for key, value in self._asked.items() if key in usual and value != usual[key]}
        return ", ".join(_flat(unusual, usual)) or "the defaults"

    def _name(self, source: Path) -> str:
        return source.relative_to(self._folder).as_posix()


def _of(num: int, total: int) -> str:
    return f": {num:,}" if num == total else f": {num:,} of {total:,}"


def _flat(values: dict[str, Any], usual: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(usual.get(name), dict):
            yield from _flat(value, usual[name], f"{name}.")
        elif value != usual.get(name):
            yield f"{prefix}{name} {value if isinstance(value, str) else json.dumps(value)}"


def _thumbnail(path: Path) -> str:
    """A small image of a file's picture, or a note if it cannot be read."""
    try:
        picture = load_image(path)
    except (InvalidImage, OSError):
        return "<i>no longer readable</i>"
    image = picture.rgb
    if picture.alpha is not None:
        image.putalpha(picture.alpha)
    image.thumbnail((_SIDE, _SIDE), reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WebP", quality=75, method=2, icc_profile=picture.icc_profile)
    data = base64.b64encode(buffer.getvalue()).decode()
    width, height = image.size
    return f'<img src="data:image/webp;base64,{data}" width={width} height={height} alt="">'


_HINT = "The percentage is how sure the network is that the picture shows a subject. Click a cut-out to open its file."
_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="generator" content="u2net">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --page: #fafaf8; --ink: #1c1c1a; --quiet: #66665f; --card: #fff; --line: #e2e2dc;
  --square: #d9d9d4; }}
@media (prefers-color-scheme: dark) {{ :root {{ --page: #161615; --ink: #ecece6; --quiet: #a3a39a; --card: #20201e;
  --line: #343430; --square: #48484a; }} }}
body {{ margin: 0 auto; max-width: 90rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }}
h1 {{ margin: .5rem 0 0; font-size: 1.5rem; overflow-wrap: anywhere; }}
h2 {{ margin: 2rem 0 .75rem; font-size: 1.1rem; }}
header p, h2 + p {{ margin: .25rem 0; color: var(--quiet); overflow-wrap: anywhere; }}
.failed {{ margin: 0; padding: 0; list-style: none; }}
.failed li {{ padding: .5rem 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }}
.grid {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem; }}
figure {{ margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }}
.both {{ display: grid; grid-template-columns: 1fr 1fr; align-items: center; height: 10rem; }}
.both > * {{ display: grid; place-items: center; height: 10rem; min-width: 0; }}
.both img {{ width: 100%; height: 10rem; object-fit: contain; }}
.both a img {{ background: repeating-conic-gradient(var(--square) 0 25%, var(--card) 0 50%) 0 0 / 16px 16px; }}
figcaption {{ display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; padding: .5rem .75rem;
  font-variant-numeric: tabular-nums; }}
figcaption span {{ flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }}
small, i {{ color: var(--quiet); }}
small {{ flex-basis: 100%; }}
meter {{ width: 4rem; }}
</style>
<header><h1>{title}</h1><p>{counts}</p><p>Settings: {asked}</p></header>
"""
