"""Record the cut-out of a small photograph by each quality.

    python tests/golden/make_cutouts.py

`cutouts.npz` holds `image`, uint8 (176, 264, 3); `outputs`, float16 (2, 1, 80, 80), what u2netp makes of it and of its
mirror image, on fewer pixels; for each quality `NAME alpha`, uint8 (176, 264); and for those that clean colours
`NAME colors`, uint8 (N, 3): the cut-out's where its alpha is 1 to 254.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from u2net import Session, Transform, new_session, remove
from u2net.models.card import Card

GOLDEN = Path(__file__).with_name("cutouts.npz")
PHOTOGRAPH = Path(__file__).parents[2] / "docs/images/coffee.jpg"
QUALITIES = ("coarse", "fast", "balanced", "best")


def session_of(outputs: np.ndarray) -> Session:
    """A session whose network gives these outputs, one for each look."""
    return Session(lambda batch: outputs[: len(batch)].astype(np.float32), Card("recorded", Transform(size=(80, 80))))


def main() -> None:
    """Look at the photograph twice, cut it out four times, save."""
    with Image.open(PHOTOGRAPH) as file:
        image = file.convert("RGB").resize((264, 176), Image.Resampling.LANCZOS)
    network = new_session("u2netp", runtime="onnxruntime")
    looks = [network.predict(view).output for view in (image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))]
    outputs = np.stack(looks).reshape(2, 1, 80, 4, 80, 4).mean(axis=(3, 5)).astype(np.float16)
    recorded = {"image": np.asarray(image), "outputs": outputs}
    for quality in QUALITIES:
        cutout = remove(np.asarray(image), session=session_of(outputs), quality=quality)
        recorded[f"{quality} alpha"] = alpha = cutout[..., 3]
        if quality != "coarse":
            recorded[f"{quality} colors"] = cutout[(alpha > 0) & (alpha < 255), :3]
    np.savez_compressed(GOLDEN, **recorded)


if __name__ == "__main__":
    main()
