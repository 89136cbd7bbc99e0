"""The loss: seven maps against the truth, as the paper sums them or in a mixture of terms."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from u2net.training.config import TrainConfig

_OUTLINE = 15 / 352  # reach of the square in F³Net, as part of the longer side


class LossValue(NamedTuple):
    """The loss of a batch: scalars on its device. Only `total` has a gradient."""

    total: Tensor
    """What training minimises."""
    fused: Tensor
    """Mean cross-entropy of the fused map without any weights, which the authors print as `tar`."""


class Loss(nn.Module):
    """Cross-entropy, IoU and SSIM, weighted and summed over the fused map and the side outputs.

    The default is equation 1 of the paper: seven mean binary cross-entropies, all of weight 1. Maps of weight 0 are not
    used. Arithmetic is in single precision even under autocast; nothing waits for the device.
    """

    class_weights: Tensor | None

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        weights = torch.tensor(config.class_weights) if config.class_weights else None
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: tuple[Tensor, ...], masks: Tensor) -> LossValue:
        """The loss of seven maps, (B, K, H, W) with the fused one first, for `masks`, (B, 1, H, W).

        With K = 1, masks say how much of each pixel is subject, 0 to 255, not always a whole number; otherwise they are
        indices of classes.
        """
        with torch.autocast(masks.device.type, enabled=False):
            fused = _widened(logits[0])
            truth: _Subject | _Classes
            if self.config.num_classes == 1:
                truth = _Subject(masks, fused.dtype, self.config)
            else:
                truth = _Classes(masks, fused.dtype, self.config, self.class_weights)
            total = fused.new_zeros(())
            for side, weight in zip(logits, self.config.side_weights, strict=True):
                for name, term in truth.terms(_widened(side)).items() if weight else ():
                    total = total + weight * getattr(self.config, name) * term
            with torch.no_grad():
                plain = truth.cross_entropy(fused)
        return LossValue(total, plain)


class _Subject:
    """Terms of the loss for maps of one channel; what depends on the truth alone is computed once."""

    def __init__(self, masks: Tensor, dtype: torch.dtype, config: TrainConfig) -> None:
        self.mask = masks.to(dtype) / 255
        self.num_subject = self.mask.sum((1, 2, 3))
        self.config = config
        self.pixel_weights = _outline_weights(self.mask, config.edge) if config.edge else None
        self.similarity = Similarity(self.mask) if config.ssim else None

    def terms(self, logits: Tensor) -> dict[str, Tensor]:
        """The terms that the configuration uses, by its field: means over the pictures."""
        terms = {}
        if self.config.bce:
            terms["bce"] = F.binary_cross_entropy_with_logits(logits, self.mask, self.pixel_weights)
        probability = torch.sigmoid(logits) if self.config.iou or self.config.ssim else logits
        if self.config.iou:
            common = (probability * self.mask).sum((1, 2, 3))
            terms["iou"] = _jaccard(common, probability.sum((1, 2, 3)) + self.num_subject - common).mean()
        if self.similarity:
            terms["ssim"] = 1 - self.similarity(probability)
        return terms

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean over all pixels, without weights."""
        return F.binary_cross_entropy_with_logits(logits, self.mask)


class _Classes:
    """Terms of the loss for maps with a channel per class; the truth has the class of each pixel or ignores it."""

    def __init__(self, masks: Tensor, dtype: torch.dtype, config: TrainConfig, weights: Tensor | None) -> None:
        self.index = masks[:, 0].long()
        self.config = config
        self.valid = self.index != config.ignore_index
        self.weights = None if weights is None else weights.to(dtype)
        self.pixel_weights: Tensor | None = None
        if config.iou or config.edge:
            classes = torch.arange(config.num_classes, device=masks.device)[:, None, None]
            self.members = ((self.index[:, None] == classes) & self.valid[:, None]).to(dtype)  # (B, K, H, W)
            self.num_members = self.members.sum((2, 3))
        if config.edge:
            self.pixel_weights = _outline_weights(self.members, config.edge)[:, 0]

    def terms(self, logits: Tensor) -> dict[str, Tensor]:
        """The terms that the configuration uses, by its field; 0 if every pixel is ignored."""
        terms = {}
        if self.config.bce:
            terms["bce"] = self._cross_entropy(logits, self.weights, self.pixel_weights)
        if self.config.iou:
            probability = torch.softmax(logits, 1) * self.valid[:, None]
            common = (probability * self.members).sum((2, 3))
            losses = _jaccard(common, probability.sum((2, 3)) + self.num_members - common)
            terms["iou"] = _mean_where(losses, self.num_members > 0)
        return terms

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean over pixels that are not ignored, without weights."""
        return self._cross_entropy(logits, None, None)

    def _cross_entropy(self, logits: Tensor, weights: Tensor | None, pixel_weights: Tensor | None) -> Tensor:
        # Pixel by pixel, since a GPU's own sum is not deterministic.
        losses = F.cross_entropy(logits, self.index, weights, ignore_index=self.config.ignore_index, reduction="none")
        counted = self.valid.to(losses.dtype)
        if weights is not None:
            counted = counted * weights[torch.where(self.valid, self.index, 0)]
        if pixel_weights is not None:
            losses, counted = losses * pixel_weights, counted * pixel_weights
        total = counted.sum()
        return losses.sum() / torch.where(total > 0, total, 1)


def _widened(logits: Tensor) -> Tensor:
    """In single precision; double stays double."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _jaccard(common: Tensor, union: Tensor) -> Tensor:
    """1 minus the intersection over union; a pixel is added to both, so that two empty masks are equal."""
    return 1 - (common + 1) / (union + 1)


def _mean_where(values: Tensor, counts: Tensor) -> Tensor:
    """Mean of the values where `counts` is true; 0 if it never is."""
    return (values * counts).sum() / counts.sum().clamp(min=1)


def _outline_weights(mask: Tensor, edge: float) -> Tensor:
    """Weights of pixels, (B, 1, H, W), of mean 1 in each picture: higher near outlines.

    `mask` is (B, 1, H, W) in [0, 1], or (B, K, H, W) with a 1 where a pixel is of a class.

    1 plus `edge` times the difference between a pixel and the mean of the square around it, as in the pixel position
    aware loss of Wei et al., F³Net, AAAI 2020, where `edge` is 5 and the square 31 wide in pictures of 352 pixels. Here
    the square grows with the picture, and the mean is of pixels in the picture (theirs counts zeros beyond, which makes
    the border an outline). Weights are scaled to mean 1, so that `edge` does not change the size of steps.
    """
    reach = max(1, round(_OUTLINE * max(mask.shape[-2:])))
    around = mask
    for size, margin in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        around = F.avg_pool2d(around, size, stride=1, padding=margin, count_include_pad=False)
    # Of classes, each difference is counted twice: where a share is too high, others are too low.
    apart = (around - mask).abs().sum(1, keepdim=True) / min(mask.shape[1], 2)
    weights = 1 + edge * apart
    return weights / weights.mean((1, 2, 3), keepdim=True)


class Similarity:
    """SSIM of maps with one truth, (B, 1, H, W) in [0, 1], of at least 11 × 11 pixels.

    Windows lie within the picture, as in the authors' code (BASNet pads with zeros, which makes the border a change
    from truth to nothing). What depends on the truth alone is computed once. Wang et al., Image quality assessment:
    from error visibility to structural similarity, IEEE TIP 2004; used as a loss by Qin et al., BASNet, CVPR 2019.
    """

    def __init__(self, truth: Tensor) -> None:
        self._truth = truth
        self._mean, square = blur(torch.stack((truth, truth * truth)))
        self._squares = self._mean * self._mean
        self._variance = square - self._squares

    def __call__(self, maps: Tensor) -> Tensor:
        """Mean over all windows, scalar, at most 1, of maps (B, 1, H, W) in [0, 1]."""
        mean, square, product = blur(torch.stack((maps, maps * maps, maps * self._truth)))
        squares, products = mean * mean, mean * self._mean
        likeness = (2 * products + _C1) * (2 * (product - products) + _C2)
        spread = (squares + self._squares + _C1) * (square - squares + self._variance + _C2)
        return torch.mean(likeness / spread)


def blur(values: Tensor) -> Tensor:
    """The Gaussian mean of each window of 11 × 11 pixels in the picture: (…, H, W) to (…, H − 10, W − 10).

    As products with a matrix for rows and one for columns. On a CPU, forth and back, that takes half the time of sums
    of shifted maps, and autograd does the rest. TF32, which torch does not use unless it is told to, would be too
    coarse: variances are small differences of these means.
    """
    return _windows(values.shape[-2], values) @ (values @ _windows(values.shape[-1], values).T)


def _windows(length: int, like: Tensor) -> Tensor:
    """The weights of each window along a line, (length − 10, length)."""
    position = torch.arange(length, dtype=like.dtype, device=like.device)
    offset = position - position[: length - 2 * _REACH, None] - _REACH
    weights = torch.exp(-0.5 * (offset / _SIGMA) ** 2) * (offset.abs() <= _REACH)
    return weights / weights.sum(1, keepdim=True)


_REACH = 5  # of a window to each side, pixels
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # for values in [0, 1]
