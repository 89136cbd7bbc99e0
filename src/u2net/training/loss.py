"""The loss: seven maps against the truth, as the paper sums them or in a mixture of terms."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from u2net.training.config import TrainConfig
from u2net.training.ssim import Similarity

_OUTLINE = 15 / 352  # how far F³Net looks for an outline, as part of the longer side


class LossValue(NamedTuple):
    """What a batch costs: scalars on its device. `total` alone carries a gradient."""

    total: Tensor
    """What is descended."""
    fused: Tensor
    """Mean cross-entropy of the fused map without weights of any kind, which the authors print as `tar`."""
    terms: dict[str, Tensor]
    """Those of "bce", "iou" and "ssim" that the configuration uses, of the fused map, each before its factor."""


class Loss(nn.Module):
    """Cross-entropy, IoU and SSIM, weighted and summed over the fused map and the side outputs.

    As configured by default this is equation 1 of the paper: seven mean binary cross-entropies, all of weight 1. A map
    of weight 0 is not looked at. Arithmetic is in single precision even under autocast; nothing waits for the device.
    """

    class_weights: Tensor | None

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        weights = torch.tensor(config.class_weights) if config.class_weights else None
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: tuple[Tensor, ...], masks: Tensor) -> LossValue:
        """The loss of seven maps, (B, K, H, W) with the fused one first, for `masks`, (B, 1, H, W).

        With K = 1, masks say how much of each pixel is subject, 0 to 255 and not always whole; otherwise
        they are indices of classes.
        """
        weights = self.config.side_weights
        with torch.autocast(masks.device.type, enabled=False):
            fused = _widened(logits[0])
            truth: _Subject | _Classes
            if self.config.num_classes == 1:
                truth = _Subject(masks, fused.dtype, self.config)
            else:
                truth = _Classes(masks, fused.dtype, self.config, self.class_weights)
            terms = [
                truth.terms(_widened(side)) if weight else {} for side, weight in zip(logits, weights, strict=True)
            ]
            total = fused.new_zeros(())
            for weight, of_side in zip(weights, terms, strict=True):
                for name, term in of_side.items():
                    total = total + weight * getattr(self.config, name) * term
            with torch.no_grad():
                shown = terms[0] or truth.terms(fused)
                plain = truth.cross_entropy(fused)
        return LossValue(total, plain, {name: term.detach() for name, term in shown.items()})


class _Subject:
    """Terms of maps of one channel, by a truth of which as much as possible is computed once."""

    def __init__(self, masks: Tensor, dtype: torch.dtype, config: TrainConfig) -> None:
        self.mask = masks.to(dtype) / 255
        self.num_subject = self.mask.sum((1, 2, 3))
        self.config = config
        self.pixel_weights = _outline_weights(self.mask, config.edge) if config.edge else None
        weight = config.positive_weight
        self.positive_weight = self.mask.new_full((), weight) if weight != 1 else None
        self.similarity = Similarity(self.mask) if config.ssim else None

    def terms(self, logits: Tensor) -> dict[str, Tensor]:
        """What the configuration uses: means over the pictures."""
        terms = {}
        if self.config.bce:
            terms["bce"] = F.binary_cross_entropy_with_logits(
                logits, self.mask, self.pixel_weights, pos_weight=self.positive_weight
            )
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
    """Terms of maps of one channel a class, by a truth that names the class of each pixel or ignores it."""

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
        """What the configuration uses: of no pixel at all, 0."""
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
    """In single precision; double stays as it is."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _jaccard(common: Tensor, union: Tensor) -> Tensor:
    """One less the intersection over union; a pixel is added to both, so that two empty masks are alike."""
    return 1 - (common + 1) / (union + 1)


def _mean_where(values: Tensor, counts: Tensor) -> Tensor:
    """Mean of the values that count; 0 if there is none."""
    return (values * counts).sum() / counts.sum().clamp(min=1)


def _outline_weights(mask: Tensor, edge: float) -> Tensor:
    """Weights of pixels, (B, 1, H, W), of mean 1 in each picture: 1 far from outlines, in proportion, and more nearby.

    `mask` is (B, 1, H, W) in [0, 1], or (B, K, H, W) with a 1 where a pixel is of a class.

    To 1 is added `edge` times how much a pixel differs from the mean of the square around it, as in the pixel position
    aware loss of Wei et al., F³Net, AAAI 2020, where `edge` is 5 and the square 31 wide in pictures of 352 pixels. Here
    it grows with the picture. The mean is of what lies within the picture (theirs counts zeros beyond, which makes an
    outline of the border), and weights are scaled to mean 1, so that `edge` moves attention and not the size of steps.
    """
    reach = max(1, round(_OUTLINE * max(mask.shape[-2:])))
    around = mask
    for size, margin in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        around = F.avg_pool2d(around, size, stride=1, padding=margin, count_include_pad=False)
    # Of classes, each difference is counted twice: where a share is too high, others are too low.
    apart = (around - mask).abs().sum(1, keepdim=True) / min(mask.shape[1], 2)
    weights = 1 + edge * apart
    return weights / weights.mean((1, 2, 3), keepdim=True)
