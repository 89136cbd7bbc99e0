"""The recipes: configurations to start from."""

from __future__ import annotations

from dataclasses import replace

from u2net.training.config import TrainConfig

PAPER = TrainConfig(holdout=0.0, epochs=682.0, checkpoint_every=2000, sample_every=2000)
"""As the paper trains: Adam at 1e-3, batches of 12, crops of 288 out of 320, flips, seven sums of cross-entropy.

600,000 steps of 12 (section 4.3) are 682 times the 10,553 pictures of DUTS-TR. The paper doubles them by mirror images
to 21,106; here a picture is mirrored by chance instead.
"""

MODERN = TrainConfig(
    feeding="antialiased",
    augment="modern",
    iou=1.0,
    edge=2.0,
    optimizer="adamw",
    lr=2e-3,
    schedule="cosine",
    warmup_steps=1000,
    weight_decay=1e-2,
    clip_norm=1.0,
    ema=0.9995,
    batch_size=32,
    epochs=300.0,
)
"""What has been learnt since: AdamW with warm-up and cosine, averaged weights, a hybrid loss, more augmentation."""

FINETUNE = replace(
    MODERN,
    feeding="checkpoint",
    init="u2netp",
    augment="paper",
    iou=0.0,
    edge=0.0,
    lr=1e-5,
    warmup_steps=20,
    freeze_norm=True,
    ema=0.98,
    batch_size=8,
    epochs=40.0,
    holdout=0.2,
    patience=8,
    checkpoint_every=50,
    sample_every=50,
    cache="disk",
)
"""20 to 500 pictures of one's own on top of a given checkpoint, stopped when it no longer gets better.

Loss and augmentation are those of the authors' weights: the more they change, the more is forgotten.
"""

SMOKE = replace(
    PAPER,
    augment="none",
    crop=128,
    size=128,
    batch_size=8,
    epochs=150.0,
    holdout=0.0,
    lr=2e-3,
    cache="memory",
    workers=0,
    checkpoint_every=50,
    sample_every=100,
)
"""Minutes on a CPU: learns a handful of pictures by heart, to see that everything is in place."""

PRESETS: dict[str, TrainConfig] = {"paper": PAPER, "modern": MODERN, "finetune": FINETUNE, "smoke": SMOKE}
