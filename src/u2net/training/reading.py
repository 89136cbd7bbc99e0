"""Numbers of a step that the GPU may still be working on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Later:
    """Numbers on their way from a device to this process, which does not wait for them until it reads them."""

    def __init__(self, values: Tensor) -> None:
        self._event = None
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()
        else:
            self._values = values

    def read(self) -> list[float]:
        """The numbers."""
        if self._event is not None:
            self._event.synchronize()
        numbers: list[float] = self._values.tolist()
        return numbers


class Reading(NamedTuple):
    """What a step measured."""

    step: int
    values: Later
    """Loss, cross-entropy of the fused map, length of the gradient."""
    lr: float
    pictures: list[str]
    """Names of what it was taken on, by this process."""
    began: float
    num_skipped: int
    """Steps in a row, up to this one, that were left out."""
