"""Record what pymatting makes of a drawn picture: closed-form alpha by a trimap, and multi-level foreground.

    python tests/golden/make_pymatting.py        # needs pymatting 1.1.16

The picture is of bright strands over a dark, uneven ground.
"""

from pathlib import Path

import numpy as np
from pymatting import estimate_alpha_cf, estimate_foreground_ml

HEIGHT, WIDTH = 72, 96


def main() -> None:
    """Draw, matte, save."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(x - 44, y - 40)
    angle = np.arctan2(y - 40, x - 44)
    reach = 22 + 7 * (0.5 + 0.5 * np.sin(23 * angle)) * (0.6 + 0.4 * np.sin(3 * angle))
    truth = np.clip((reach - distance) / 3 + 0.5, 0, 1)[:, :, None]
    subject = np.array([220, 160, 90]) + 25 * np.sin(x / 5 + y / 9)[:, :, None]
    ground = np.array([40, 70, 100]) + np.stack([x * 0.5, y * 0.4, 30 * np.sin(x / 17)], axis=2)
    noise = random.normal(0, 2, (HEIGHT, WIDTH, 3))
    image = (truth * subject + (1 - truth) * ground + noise).round().clip(0, 255).astype(np.uint8)
    known = np.where(distance < 18, 255, np.where(distance > 36, 0, 128)).astype(np.uint8)
    alpha = estimate_alpha_cf(image / 255, known / 255)
    levels = (alpha * 255).round().astype(np.uint8)
    foreground = estimate_foreground_ml(image / 255, levels / 255)
    np.savez_compressed(
        Path(__file__).with_name("pymatting.npz"),
        image=image,
        trimap=known,
        alpha=levels,
        foreground=(foreground * 255).round().astype(np.uint8),
    )


if __name__ == "__main__":
    main()
