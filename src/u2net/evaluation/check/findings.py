"""The kinds of findings, what training does about each, and the report of all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from u2net.evaluation.check.example import Checked
from u2net.evaluation.dataset import Dataset, Example

Severity = Literal["error", "warning", "note"]
"""Training cannot use it; training uses it, but check it; training converts it correctly."""


@dataclass(frozen=True)
class Kind:
    """One kind of finding."""

    name: str
    severity: Severity
    meaning: str
    """In words."""
    consequence: str
    """What `u2net train` does about it."""


_BAD = "stops and names it; --on-bad skip leaves the pair out"

KINDS = {
    kind.name: kind
    for kind in (
        Kind("no-mask", "error", "picture without a mask of its name", _BAD),
        Kind("no-picture", "error", "mask without a picture of its name", _BAD),
        Kind("same-name", "error", "two files of one name", "stops until you remove one of them"),
        Kind("unreadable", "error", "file that cannot be read", _BAD),
        Kind("size", "error", "picture and mask differ in size", _BAD),
        Kind("no-indices", "error", "mask that stores no class indices", _BAD),
        Kind("out-of-range", "error", "mask with indices that are no class", _BAD),
        Kind("leak", "warning", "validation picture that is also trained on", "trains on it: scores come out too high"),
        Kind("unequal-masks", "warning", "pictures alike, masks not", "learns both, which contradict each other"),
        Kind("duplicate", "warning", "two training pictures alike", "uses both; a holdout may get one of them"),
        Kind("mostly-inverted", "warning", "data set with subjects in black", "learns the background as the subject"),
        Kind("inverted", "warning", "mask whose subject seems to be black", "learns the background as the subject"),
        Kind("empty", "warning", "mask without subject", "learns that there is none; its F in validation is 0"),
        Kind("full", "warning", "mask that is all subject", "learns that everything is subject"),
        Kind("dim", "warning", "mask with no level of 128 or more", "learns that no pixel is surely subject"),
        Kind("colour", "warning", "mask in colours", "uses the luminance of the colours, black to white"),
        Kind("cut-out", "warning", "mask with transparency and several colours", "uses colours, not transparency"),
        Kind("lossy", "warning", "mask saved as lossy JPEG or WebP", "also learns the noise along outlines"),
        Kind("ignored", "warning", "mask that is ignored everywhere", "learns nothing from it"),
        Kind("absent", "warning", "class that occurs nowhere", "never learns it"),
        Kind("turned", "note", "picture or mask turned by EXIF alone", "turns both upright; check they still match"),
        Kind("alpha", "note", "mask in the transparency of one colour", "uses the transparency as the mask"),
        Kind("palette", "note", "mask with a palette of greys", "uses the greys of the palette, not the indices"),
        Kind("zero-one", "note", "mask of only 0 and 1", "reads 1 as 255"),
        Kind("rgb", "note", "grey mask in three channels", "uses the grey that they share"),
        Kind("deep", "note", "mask of more than 8 bits", "uses the nearest of 256 levels"),
        Kind("soft", "note", "mask with many levels between black and white", "learns the levels as they are"),
    )
}
"""By name, in the order of a report: first what training refuses."""


@dataclass(frozen=True)
class Finding:
    """One thing found about one example, or about a whole data set."""

    kind: str
    """A name in `KINDS`."""
    dataset: str
    detail: str
    """What was found, in one line."""
    example: Example | None = None
    other: Example | None = None
    """The example that looks the same."""

    @property
    def name(self) -> str:
        """That of the example; empty if the finding is about the whole data set."""
        return self.example.name if self.example else ""

    @property
    def severity(self) -> Severity:
        """That of its kind."""
        return KINDS[self.kind].severity


@dataclass(frozen=True)
class Examined:
    """One data set, and what the check of each of its examples found."""

    dataset: Dataset
    role: Literal["training", "validation"]
    checked: list[Checked]

    @property
    def num_pairs(self) -> int:
        """Examples with picture and mask."""
        return sum(example.is_pair for example in self.dataset)

    @property
    def num_usable(self) -> int:
        """Pairs without an error of their own."""
        ambiguous = {name for name, _, _ in self.dataset.duplicates}
        return sum(
            example.is_pair
            and example.name not in ambiguous
            and all(KINDS[kind].severity != "error" for kind, _ in checked.faults)
            for example, checked in zip(self.dataset, self.checked, strict=True)
        )

    def finding(self, kind: str, example: Example, detail: str, other: Example | None = None) -> Finding:
        """A finding about one of its examples."""
        return Finding(kind, self.dataset.name, detail, example, other)


@dataclass(frozen=True)
class Report:
    """Everything that was found."""

    examined: list[Examined]
    findings: list[Finding]
    """In the order of `KINDS`, then of data sets and names."""
    classes: list[str]
    """Names, background first; with more than two, masks hold indices."""
    class_shares: dict[str, float]
    """Share of each class in the training pixels that are not ignored; empty for two classes."""

    def count(self, severity: Severity) -> int:
        """The number of findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def by_kind(self) -> dict[Kind, list[Finding]]:
        """The findings of each kind, in the order of `KINDS`."""
        grouped = {kind: [f for f in self.findings if f.kind == kind.name] for kind in KINDS.values()}
        return {kind: findings for kind, findings in grouped.items() if findings}

    def summary(self) -> str:
        """The result in one line."""
        num_pairs, num_usable = (sum(getattr(e, part) for e in self.examined) for part in ("num_pairs", "num_usable"))
        counts = ", ".join(_counted(self.count(severity), severity) for severity in ("error", "warning", "note"))
        return f"{num_usable:,} of {_counted(num_pairs, 'pair')} can be used: {counts}"

    def to_json(self) -> str:
        """Counts and findings, each with its severity and what training does."""
        sets = [
            {"name": e.dataset.name, "layout": e.dataset.layout, "role": e.role}
            | {"num_pairs": e.num_pairs, "num_usable": e.num_usable}
            for e in self.examined
        ]
        rows = [
            {"kind": f.kind, "severity": f.severity, "dataset": f.dataset, "name": f.name, "detail": f.detail}
            | {"meaning": KINDS[f.kind].meaning, "training": KINDS[f.kind].consequence}
            for f in self.findings
        ]
        whole = {"datasets": sets, "class_shares": self.class_shares, "findings": rows}
        return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _counted(num: int, thing: str) -> str:
    """1 pair, 2 pairs."""
    return f"{num:,} {thing}{'' if num == 1 else 's'}"
