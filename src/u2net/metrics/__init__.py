"""The field's measures, one class each; each takes pairs of map and ground truth one by one."""

from u2net.metrics.contour import BoundaryIoU, RelaxedF
from u2net.metrics.measure import Measure, PictureMeasure
from u2net.metrics.pair import Pair
from u2net.metrics.region import MAE, EMeasure, FMeasure, Overlap, PictureFMeasure, SMeasure
from u2net.metrics.weighted import WeightedF

__all__ = [
    "MAE",
    "BoundaryIoU",
    "EMeasure",
    "FMeasure",
    "Measure",
    "Overlap",
    "Pair",
    "PictureFMeasure",
    "PictureMeasure",
    "RelaxedF",
    "SMeasure",
    "WeightedF",
]
