"""The field's measures, one class each; each takes pairs of map and ground truth one by one."""

from u2net.evaluation.metrics.classes import ClassIoU
from u2net.evaluation.metrics.contour import BoundaryIoU, RelaxedF
from u2net.evaluation.metrics.matting import MSE, SAD, ConnectivityError, GradientError
from u2net.evaluation.metrics.measure import Measure, PictureMeasure, Sums
from u2net.evaluation.metrics.pair import Pair
from u2net.evaluation.metrics.region import MAE, EMeasure, FMeasure, Overlap, PictureFMeasure, SMeasure
from u2net.evaluation.metrics.weighted import WeightedF

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
