"""The field's measures, one class each; each takes pairs of map and ground truth one by one."""

from u2net.metrics.classes import ClassIoU
from u2net.metrics.contour import BoundaryIoU, RelaxedF
from u2net.metrics.matting import MSE, SAD, ConnectivityError, GradientError
from u2net.metrics.measure import Measure, PictureMeasure, Sums
from u2net.metrics.pair import Pair
from u2net.metrics.region import MAE, EMeasure, FMeasure, Overlap, PictureFMeasure, SMeasure
from u2net.metrics.weighted import WeightedF

SALIENCY: tuple[type[Measure], ...] = (
    FMeasure,
    MAE,
    WeightedF,
    SMeasure,
    EMeasure,
    RelaxedF,
    Overlap,
    BoundaryIoU,
    PictureFMeasure,
)
"""Measures of salient object detection, those of the paper's tables first."""

MATTING: tuple[type[Measure], ...] = (SAD, MSE, GradientError, ConnectivityError)
"""Measures of soft mattes."""

__all__ = [
    "MAE",
    "MATTING",
    "MSE",
    "SAD",
    "SALIENCY",
    "BoundaryIoU",
    "ClassIoU",
    "ConnectivityError",
    "EMeasure",
    "FMeasure",
    "GradientError",
    "Measure",
    "Overlap",
    "Pair",
    "PictureFMeasure",
    "PictureMeasure",
    "RelaxedF",
    "SMeasure",
    "Sums",
    "WeightedF",
]
