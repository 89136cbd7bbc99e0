"""Record what PySODMetrics says of small pairs; run where it is installed, from the folder of the project.

    .peers/pysodmetrics/bin/python tests/golden/make_pysodmetrics.py

`pysodmetrics.json` holds its version and, for each of `pairs()`, its scores under our names. The tests draw the same
pairs from this file, with whatever numpy they have: only integers and whole steps are drawn.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Drawn = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def blob(width: int, height: int, seed: int) -> Drawn:
    """A rough ellipse, and a map of it that is soft at the rim, too dark, too low, and seen where nothing is."""
    y, x = np.mgrid[0:height, 0:width]
    weight = (7 * seed + x * 3 + y * 5) % 11  # frays the outline
    apart = (2 * x - width) ** 2 * height + (2 * y - height) ** 2 * width + weight * width * height // 4
    truth = np.where(apart < width * height * min(width, height) // 3, 255, 0).astype(np.uint8)
    soft = 250 - (2 * (x - 2) - width) ** 2 * 200 // width**2 - (2 * (y - 1) - height) ** 2 * 300 // height**2
    speck = 90 * ((x > width - 6) & (y < 4))
    map_ = np.clip(np.maximum((soft - weight * 2) // 10 * 10, speck), 0, 255)
    return map_.astype(np.uint8), truth


def constant(level: int, truth: NDArray[np.uint8]) -> Drawn:
    """A flat map."""
    return np.full_like(truth, level), truth


def pairs() -> dict[str, Drawn]:
    """Map and ground truth by name."""
    map_, truth = blob(40, 30, 1)
    ramp = (np.arange(30 * 40) % 256).reshape(30, 40).astype(np.uint8)
    one = np.array([[200]], dtype=np.uint8)
    return {
        "blob": (map_, truth),
        "tall blob": blob(24, 50, 2),
        "wide blob": blob(90, 20, 3),
        "ramp": (ramp, truth),
        "map equal to mask": (truth.copy(), truth),
        "inverse": (255 - truth, truth),
        "empty mask": (map_, np.zeros_like(truth)),
        "full mask": (map_, np.full_like(truth, 255)),
        "constant map": constant(100, truth),
        "black map": constant(0, truth),
        "white map": constant(255, truth),
        "grey truth": (map_, ramp),
        "one row": (ramp[3:4], truth[15:16]),
        "one column": (map_[:, 20:21], truth[:, 20:21]),
        "one pixel": (one, one),
        "one pixel in the corner": (map_, np.where(ramp == 0, 255, 0).astype(np.uint8) * (np.arange(40) == 0)),
    }


def scores(map_: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, float]:
    """PySODMetrics' scores of one pair; without Sm, which is NaN, where the centroid leaves a quadrant empty."""
    import py_sod_metrics as peer

    overlaps = {"IoU": peer.IOUHandler, "Dice": peer.DICEHandler}
    handlers = {
        name: kind(with_dynamic=False, with_adaptive=False, with_binary=True) for name, kind in overlaps.items()
    }
    measures = (
        peer.MAE(), peer.Fmeasure(), peer.Smeasure(), peer.Emeasure(), peer.WeightedFmeasure(),
        peer.FmeasureV2(handlers),
    )  # fmt: skip
    found = {}
    for measure in measures:
        measure.step(map_, truth)
        found |= measure.get_results()
    result = {"MAE stretched": found["mae"], "Sm": found["sm"], "Fw": found["wfm"]}
    for name, part in (("F per picture", found["fm"]), ("E", found["em"])):
        curve = part["curve"]
        result |= {f"max{name}": curve.max(), f"mean{name}": curve.mean(), f"adp{name}": part["adp"]}
    result |= {f"{name} stretched": found[name]["binary"] for name in overlaps}
    return {name: float(value) for name, value in result.items() if not np.isnan(value)}


if __name__ == "__main__":
    from importlib.metadata import version

    warnings.simplefilter("ignore")
    recorded = {name: scores(*pair) for name, pair in pairs().items()}
    text = json.dumps({"version": version("pysodmetrics"), "scores": recorded}, indent=1)
    Path(__file__).with_name("pysodmetrics.json").write_text(text + "\n", encoding="utf-8")
