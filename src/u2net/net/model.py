"""U²-Net as in the paper, top to bottom: blocks (section 3.1), network (3.2), variants (figure 5, table 1).

Source: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern
Recognition 2020, arXiv 2005.09007. Tensors are float (B, C, H, W) throughout. No device, dtype or distributed
code lives here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from u2net.net.pretrained import Pretrained


class Stage(NamedTuple):
    """One row of a variant's table: one RSU block of the outer U."""

    height: int
    """The paper's L: number of encoder convolutions, 2 or more."""
    dilated: bool
    """True for the form without pooling and resizing (the F of RSU-4F)."""
    c_in: int
    """The paper's I: channels that come in; in the decoder those of both inputs together."""
    c_mid: int
    """The paper's M: channels inside the block."""
    c_out: int
    """The paper's O: channels that go out."""


U2NET: tuple[Stage, ...] = (
    Stage(7, False, 3, 32, 64),  # En_1
    Stage(6, False, 64, 32, 128),  # En_2
    Stage(5, False, 128, 64, 256),  # En_3
    Stage(4, False, 256, 128, 512),  # En_4
    Stage(4, True, 512, 256, 512),  # En_5
    Stage(4, True, 512, 256, 512),  # En_6
    Stage(4, True, 1024, 256, 512),  # De_5
    Stage(4, False, 1024, 128, 256),  # De_4
    Stage(5, False, 512, 64, 128),  # De_3
    Stage(6, False, 256, 32, 64),  # De_2
    Stage(7, False, 128, 16, 64),  # De_1
)
"""U²-Net: 44,009,869 parameters."""

U2NETP: tuple[Stage, ...] = (
    Stage(7, False, 3, 16, 64),  # En_1
    Stage(6, False, 64, 16, 64),  # En_2
    Stage(5, False, 64, 16, 64),  # En_3
    Stage(4, False, 64, 16, 64),  # En_4
    Stage(4, True, 64, 16, 64),  # En_5
    Stage(4, True, 64, 16, 64),  # En_6
    Stage(4, True, 128, 16, 64),  # De_5
    Stage(4, False, 128, 16, 64),  # De_4
    Stage(5, False, 128, 16, 64),  # De_3
    Stage(6, False, 128, 16, 64),  # De_2
    Stage(7, False, 128, 16, 64),  # De_1
)
"""U²-Net†, the paper's small one: 1,131,181 parameters."""

VARIANTS: dict[str, tuple[Stage, ...]] = {"u2net": U2NET, "u2netp": U2NETP}


class ConvBlock(nn.Sequential):
    """3×3 convolution, batch normalisation, ReLU; keeps height and width.

    The convolution has a bias although the normalisation makes it redundant: the authors' weights hold one.
    """

    def __init__(self, c_in: int, c_out: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=dilation, dilation=dilation)
        self.norm = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)


class RSU(nn.Module):
    """Residual U-block of any height, (B, c_in, H, W) -> (B, c_out, H, W).

    An input convolution, a U of `height` levels over its result, and the sum of both (paper, section 3.1 and
    figure 2e). The dilated form replaces pooling and resizing by dilations 1, 2, 4, … (paper, section 3.2).
    Level i of the decoder stands at index i, beside the encoder level whose map it takes.
    """

    def __init__(self, height: int, c_in: int, c_mid: int, c_out: int, dilated: bool = False) -> None:
        super().__init__()
        if height < 2:
            raise ValueError(f"an RSU needs a height of 2 or more, got {height}")
        self.dilated = dilated
        dilations = [2**level if dilated else 1 for level in range(height)]
        # Without pooling below it, the bottom widens its view by dilation in both forms.
        dilations[-1] = max(dilations[-1], 2)
        self.conv_in = ConvBlock(c_in, c_out)
        self.encoder = nn.ModuleList(
            ConvBlock(c_mid if level else c_out, c_mid, dilation) for level, dilation in enumerate(dilations)
        )
        self.decoder = nn.ModuleList(
            ConvBlock(2 * c_mid, c_mid if level else c_out, dilation) for level, dilation in enumerate(dilations[:-1])
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, H, W)."""
        residual: Tensor = self.conv_in(x)
        skips: list[Tensor] = [self.encoder[0](residual)]
        for level, block in enumerate(self.encoder[1:], start=1):
            below = skips[-1] if self._same_size(level) else _halve(skips[-1])
            skips.append(block(below))
        x = skips.pop()
        for level in reversed(range(len(self.decoder))):
            x = x if self._same_size(level + 1) else _resize_like(x, skips[level])
            x = self.decoder[level](torch.cat((x, skips[level]), dim=1))
        return x + residual

    def _same_size(self, level: int) -> bool:
        """Whether an encoder level has the size of the level above it: the bottom has, dilated ones have."""
        return self.dilated or level == len(self.encoder) - 1


class U2Net(Pretrained):
    """The nested U: RSU stages down, RSU stages up, one side output each, and their fusion (paper, figure 5).

    `stages` is the table, encoder first, of odd length: six rows down and five up in the paper. Its first
    `c_in` is the number of input channels. With `num_classes` of 1 the network answers one question (is it
    subject?), with more it scores each class. `checkpointing` trades time for memory in training: stages are
    computed again in the backward pass instead of being kept.

    Raises ValueError for a table whose rows do not fit each other.
    """

    def __init__(self, stages: Sequence[Stage] = U2NET, num_classes: int = 1, *, checkpointing: bool = False) -> None:
        super().__init__()
        stages = tuple(Stage(*stage) for stage in stages)
        _check_table(stages, num_classes)
        self.stages = stages
        self.num_classes = num_classes
        self.checkpointing = checkpointing
        num_encoders = len(stages) // 2 + 1
        blocks = [RSU(s.height, s.c_in, s.c_mid, s.c_out, s.dilated) for s in stages]
        self.encoder = nn.ModuleList(blocks[:num_encoders])
        self.decoder = nn.ModuleList(reversed(blocks[num_encoders:]))
        side_rows = (*reversed(stages[num_encoders:]), stages[num_encoders - 1])
        self.sides = nn.ModuleList(nn.Conv2d(row.c_out, num_classes, 3, padding=1) for row in side_rows)
        self.fuse = nn.Conv2d(len(side_rows) * num_classes, num_classes, 1)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of the fused map, then of side outputs 1 to 6: each (B, num_classes, H, W), size of `x`.

        `x` is (B, c_in, H, W) as `Transform.preprocess` makes it; H and W are at least 32, even or odd.
        """
        sides = self._sides(x)
        return (self.fuse(torch.cat(sides, dim=1)), *sides)

    def saliency(self, x: Tensor) -> Tensor:
        """Probabilities of the fused map alone, (B, num_classes, H, W) in [0, 1]."""
        return self.probabilities(self.fuse(torch.cat(self._sides(x), dim=1)))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities in [0, 1] from logits, both (B, num_classes, H, W): sigmoid or, of several, softmax."""
        return logits.sigmoid() if self.num_classes == 1 else logits.softmax(dim=1)

    def _sides(self, x: Tensor) -> list[Tensor]:
        skips: list[Tensor] = []
        below = x
        for stage in self.encoder:
            below = self._run(stage, below)
            skips.append(below)
            if len(skips) < len(self.encoder):
                below = _halve(below)
        maps = [skips[-1]]
        for level in reversed(range(len(self.decoder))):
            up = _resize_like(maps[0], skips[level])
            maps.insert(0, self._run(self.decoder[level], torch.cat((up, skips[level]), dim=1)))
        first, *rest = (side(x) for side, x in zip(self.sides, maps, strict=True))
        return [first, *(_resize_like(logits, first) for logits in rest)]

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            return stage(x)  # type: ignore[no-any-return]

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _without_running_statistics(stage)

        return checkpoint(stage, x, use_reentrant=False, context_fn=contexts)  # type: ignore[no-any-return]


def _halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def _resize_like(x: Tensor, target: Tensor) -> Tensor:
    # align_corners=False is what the authors' weights were trained with (torch's default since 0.4).
    return F.interpolate(x, size=target.shape[-2:], mode="bilinear", align_corners=False)


def _check_table(stages: tuple[Stage, ...], num_classes: int) -> None:
    if len(stages) < 3 or len(stages) % 2 == 0:
        raise ValueError(f"a table has an odd number of rows, 3 or more, got {len(stages)}")
    if num_classes < 1:
        raise ValueError(f"num_classes is 1 or more, got {num_classes}")
    for i, row in enumerate(stages, start=1):
        if min(row.c_in, row.c_mid, row.c_out) < 1:
            raise ValueError(f"row {i} of the table has fewer than one channel: {row}")
    bottom = len(stages) // 2
    for i, row in enumerate(stages[1:], start=1):
        expected = stages[i - 1].c_out
        if i > bottom:
            expected += stages[2 * bottom - i].c_out
        if row.c_in != expected:
            raise ValueError(f"row {i + 1} of the table takes {row.c_in} channels but gets {expected}")


def _initialise(module: nn.Module) -> None:
    """Xavier, as the paper's implementation details say; the authors' script keeps torch's default."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@contextmanager
def _without_running_statistics(stage: nn.Module) -> Iterator[None]:
    """Leave running statistics as they are: the first pass has counted this batch."""
    norms = [module for module in stage.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counters = [value for key, value in stage.named_buffers() if key.endswith("num_batches_tracked")]
    counts = [counter.clone() for counter in counters]
    for norm in norms:
        norm.momentum = 0.0  # takes nothing of this batch, yet saves the same tensors as the first pass
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for counter, count in zip(counters, counts, strict=True):
            counter.copy_(count)
