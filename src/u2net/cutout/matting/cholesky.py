"""Many 3 × 3 covariances of colour at once, by their triangular factors.

Grey pictures have covariances of rank one but for the small number on their diagonal. Cofactors lose that number to
rounding; triangular factors do not. NumPy's own are called for one matrix after the other, which takes ten times as
long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Values = TypeVar("Values", bound=NDArray[np.floating[Any]])


@dataclass(frozen=True)
class Cholesky(Generic[Values]):
    """Lower triangular factors, entry by entry; the diagonal's are stored inverted."""

    rr: Values
    gr: Values
    gg: Values
    br: Values
    bg: Values
    bb: Values

    @classmethod
    def of(cls, rr: Values, gr: Values, gg: Values, br: Values, bg: Values, bb: Values) -> Cholesky[Values]:
        """Of positive definite matrices, given by the entries of their lower triangles, arrays of one shape."""
        first: Any = 1 / np.sqrt(rr)
        below, last = gr * first, br * first
        second: Any = 1 / np.sqrt(gg - below * below)
        between = (bg - last * below) * second
        third: Any = 1 / np.sqrt(bb - last * last - between * between)
        return cls(first, below, second, last, between, third)

    def whiten(self, r: Values, g: Values, b: Values) -> tuple[Values, Values, Values]:
        """Vectors multiplied by the inverse of the factor."""
        x: Any = r * self.rr
        y: Any = (g - self.gr * x) * self.gg
        z: Any = (b - self.br * x - self.bg * y) * self.bb
        return x, y, z

    def solve(self, r: Values, g: Values, b: Values) -> tuple[Values, Values, Values]:
        """Vectors multiplied by the inverse of the matrix."""
        x, y, z = self.whiten(r, g, b)
        third: Any = z * self.bb
        second: Any = (y - self.bg * third) * self.gg
        first: Any = (x - self.gr * second - self.br * third) * self.rr
        return first, second, third
