"""Closed-form matting: the alpha that varies as the picture's colours do, between pixels whose alpha is known.

Levin, Lischinski and Weiss, A closed-form solution to natural image matting, TPAMI 2008. In every window of 3 × 3
pixels alpha is taken for a linear function of colour; what no such function explains is the cost, a quadratic form in
alpha whose matrix is the matting Laplacian (their equation 12). Only the rows of unknown pixels are made, 25 weights
each, so that time and memory follow their number and not the picture's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from u2net.cutout.matting.guided import Cholesky

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_STRIP = 16_384  # unknown pixels whose windows are in memory at once, about 30 MB
_WINDOW = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
_NOTHING = 1e-6  # energy of a pixel that is not worth a search, and above that of rounding
_SHIFT = 1e-6  # of the diagonal, for regions that touch nothing known


def solve(
    image: Floats,
    alpha: Floats,
    unknown: Mask,
    *,
    prior: float | Floats = 0.0,
    epsilon: float = 1e-7,
    tolerance: float = 1e-3,
    max_iterations: int = 200,
) -> Floats:
    """Alpha with its unknown pixels solved for, float32 (H, W) in [0, 1]; the others stay as they are.

    `image` is float32 (H, W, 3) in [0, 1], `alpha` float32 (H, W): known values, and at unknown pixels the start of
    the search. `prior`, a number or float32 (H, W), weighs how far unknown pixels are held to their start: against 1,
    the order of the Laplacian's diagonal. `epsilon` is Levin's, variance of colour that counts for nothing. The search
    is by conjugate gradients, until the residual is `tolerance` of the first one.
    """
    if not unknown.any():
        return alpha.copy()
    system = _System.of(image, unknown, epsilon)
    values = np.pad(alpha, 2).ravel()
    held = np.broadcast_to(np.asarray(prior, dtype=np.float32), alpha.shape)[unknown] + np.float32(_SHIFT)
    # Held to the start, the first residual is the Laplacian's alone.
    residual = -system.product(values)
    diagonal = system.weights[12] + held
    step = residual / diagonal
    energy = float(residual @ step)
    enough = tolerance**2 * max(energy, _NOTHING * len(residual))
    solution, direction = values[system.pixels], np.zeros_like(values)
    for _ in range(max_iterations):
        if energy <= enough:
            break
        direction[system.pixels] = step
        image_of_step = system.product(direction) + held * step
        length = np.float32(energy / float(step @ image_of_step))
        solution += length * step
        residual -= length * image_of_step
        scaled = residual / diagonal
        before, energy = energy, float(residual @ scaled)
        step = scaled + np.float32(energy / before) * step
    solved = alpha.copy()
    solved[unknown] = solution.clip(0, 1)
    return solved


@dataclass(frozen=True)
class _System:
    """The Laplacian's rows of unknown pixels, over a picture padded by 2 on each side."""

    pixels: NDArray[np.intp]
    """(N,): where the unknown pixels lie in the flattened padded picture."""
    offsets: NDArray[np.intp]
    """(25,): from there to its neighbours."""
    weights: Floats
    """(25, N): the row's entries for these."""

    @classmethod
    def of(cls, image: Floats, unknown: Mask, epsilon: float) -> _System:
        width = unknown.shape[1] + 4
        offsets = np.array([dy * width + dx for dy in range(-2, 3) for dx in range(-2, 3)])
        rows = [_rows(image[around], mask, epsilon) for around, mask in _strips(unknown)]
        return cls(np.flatnonzero(np.pad(unknown, 2)), offsets, np.concatenate(rows, axis=1))

    def product(self, values: Floats) -> Floats:
        """These rows times alphas of the padded, flattened picture: float32 (N,)."""
        first = self.pixels + self.offsets[0]  # from here the neighbours are counted: no index is made for each
        result = np.zeros(len(first), dtype=np.float32)
        for offset, weight in zip(self.offsets - self.offsets[0], self.weights, strict=True):
            result += weight * values[offset:].take(first)
        return result


def _strips(unknown: Mask) -> Iterator[tuple[slice, Mask]]:
    """The picture's rows in strips of at most `_STRIP` unknown pixels, or of one row.

    Of each: the rows that its windows reach, and the unknown pixels that are its own, boolean over these rows.
    """
    height = len(unknown)
    reached = np.cumsum(np.count_nonzero(unknown, axis=1))
    top = 0
    while top < height and (done := reached[top - 1] if top else 0) < reached[-1]:
        bottom = max(top + 1, int(np.searchsorted(reached, done + _STRIP, side="right")))
        around = slice(max(top - 2, 0), min(bottom + 2, height))
        own = unknown[around].copy()
        own[: top - around.start] = False
        own[bottom - around.start :] = False
        yield around, own
        top = bottom


def _rows(image: Floats, unknown: Mask, epsilon: float) -> Floats:
    """The Laplacian's entries, float32 (25, N), for the unknown pixels of a piece of the picture."""
    height, width = unknown.shape
    num = np.count_nonzero(unknown)
    if not num or min(height, width) < 3:
        return np.zeros((25, num), dtype=np.float32)
    inner = np.zeros_like(unknown)  # centres of windows that lie in the picture and hold an unknown pixel
    for dy, dx in _WINDOW:
        inner[1:-1, 1:-1] |= unknown[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
    windows = np.flatnonzero(inner)[:, None] + np.array([dy * width + dx for dy, dx in _WINDOW])

    colors = image.reshape(-1, 3)[windows].astype(np.float64)  # (M, 9, 3)
    colors -= colors.mean(axis=1, keepdims=True)
    r, g, b = colors.transpose(2, 0, 1)
    pairs = ((r, r), (g, r), (g, g), (b, r), (b, g), (b, b))
    covariance = [(one * other).mean(axis=1) + epsilon / 9 * (one is other) for one, other in pairs]
    whitened = Cholesky.of(*(entry[:, None] for entry in covariance)).whiten(r, g, b)
    spread = np.stack(whitened, axis=2)
    affinity = (spread @ spread.transpose(0, 2, 1) + 1) / 9
    entries = np.eye(9) - affinity  # (M, 9, 9)

    order = np.full(unknown.size, num)  # known pixels share a row that is dropped
    order[unknown.ravel()] = np.arange(num)
    neighbour = np.array([[(by - ay + 2) * 5 + bx - ax + 2 for by, bx in _WINDOW] for ay, ax in _WINDOW])
    places = neighbour * (num + 1) + order[windows][:, :, None]
    summed = np.bincount(places.ravel(), entries.ravel(), minlength=25 * (num + 1))
    return summed.reshape(25, num + 1)[:, :num].astype(np.float32)
