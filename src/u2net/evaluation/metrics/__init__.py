"""One class for each measure of the field. A measure takes pairs of map and ground truth one by one."""

from u2net.evaluation.metrics.base import Measure, Pair, PictureMeasure
from u2net.evaluation.metrics.f_e_s_measure import EMeasure, FMeasure, PictureFMeasure, SMeasure
from u2net.evaluation.metrics.matting import MSE, SAD, ConnectivityError, GradientError
from u2net.evaluation.metrics.overlap import MAE, BoundaryIoU, ClassIoU, Overlap, RelaxedF
from u2net.evaluation.metrics.weighted_f import WeightedF

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
"""Measures of salient object detection: first those in the tables of the paper."""

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
    "WeightedF",
]
