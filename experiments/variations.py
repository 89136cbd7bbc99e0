"""How well a model knows training pictures, and their variations.

    PYTHONPATH=benchmarks python experiments/variations.py DATA [--every 50] [--model NAME|FILE] [--json FILE]

DATA is a folder or tar of pictures and masks that the model was trained on, of which every so many are taken. Shown are
means over the pictures of cross-entropy (of the fused map, as a training run prints it) and MAE: of pictures as they
are, mirrored, cut to their middle, and after each kind of variation of the recipe `modern` by itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from bench import every, new_parser, publish, table
from numpy.random import Generator
from PIL import Image
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, interpolate

from u2net import Session, new_session
from u2net.evaluation.dataset import load_grey, open_dataset
from u2net.images.load import load_image
from u2net.training import appearance, framing
from u2net.training.augment import find_subjects
from u2net.training.framing import Bounds, Frame
from u2net.training.sampling import sample

SIDE = 320
Pair = tuple[Tensor, Tensor]
"""A picture, float32 (3, H, W), 0 to 255, and its mask, uint8 (1, H, W)."""


def framed(vary: Callable[[Frame, Generator], Frame]) -> Callable[[Tensor, Tensor, Generator], Pair]:
    """A variation of what is taken of a pair."""

    def change(image: Tensor, mask: Tensor, rng: Generator) -> Pair:
        whole = Bounds(0, SIDE, 0, SIDE)
        frame = vary(Frame(whole, find_subjects(mask[None])[0], box=whole, kernel="bilinear"), rng)
        pair = sample(torch.cat((image, mask))[None], [frame], SIDE, classes=False)[0]
        return pair[:3], pair[3:].round().byte()

    return change


def middle(share: float) -> Callable[[Tensor, Tensor, Generator], Pair]:
    """The middle of a picture, a share as wide and high."""
    margin = round(SIDE * (1 - share) / 2)
    part = slice(margin, SIDE - margin)
    return lambda image, mask, _: (image[:, part, part], mask[:, part, part])


def bordered(frame: Frame, rng: Generator) -> Frame:
    """All of a picture with a border."""
    frame = framing.add_border(frame, rng)
    return replace(frame, box=Bounds(0, frame.shape[0], 0, frame.shape[1]))


def alone(change: Callable[[Tensor, Sequence[Generator]], Tensor]) -> Callable[[Tensor, Tensor, Generator], Pair]:
    """A change of the picture that leaves the mask."""
    return lambda image, mask, rng: (change(image[None], [rng])[0].clamp(0, 255), mask)


VARIATIONS: dict[str, Callable[[Tensor, Tensor, Generator], Pair]] = {
    "as they are": lambda image, mask, _: (image, mask),
    "mirrored": framed(framing.mirror),
    "the middle 80 % of width and height": middle(0.8),
    "the middle 60 %": middle(0.6),
    "cut around the subject": framed(lambda frame, rng: framing.choose_box(frame, rng, anywhere=False)),
    "turned by 8°": framed(lambda frame, _: replace(frame, kernel=None, angle=math.radians(8))),
    "with a border": framed(bordered),
    "other colours": alone(appearance.shift_colours),
    "without colours": alone(appearance.drop_colours),
    "other levels": alone(appearance.bend_levels),
    "blurred": alone(appearance.blur),
    "with noise": alone(appearance.add_noise),
    "compressed": alone(appearance.compress),
}


def main() -> None:
    """Measure, print, write if asked."""
    parser = new_parser(__doc__, "40 pictures")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--every", type=int, default=50, metavar="N")
    parser.add_argument("--model", default="u2netp", metavar="NAME|FILE")
    arguments = parser.parse_args()
    session = new_session(arguments.model, precision="fp32")
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIATIONS}
    examples = every(open_dataset(arguments.data).examples, arguments.every, quick=arguments.quick)
    for number, example in enumerate(examples):
        assert example.image
        assert example.mask
        picture = load_image(example.image.read()).view().resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        truth = Image.fromarray(load_grey(example.mask)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()
        mask = torch.from_numpy(np.array(truth))[None]
        for name, vary in VARIATIONS.items():
            rows[name].append(errors(session, *vary(image.clone(), mask.clone(), np.random.default_rng(number))))
    means = {name: np.mean(of_pictures, axis=0).tolist() for name, of_pictures in rows.items()}
    num = len(rows["as they are"])
    cells = ([name, *(f"{value:.3f}" for value in values)] for name, values in means.items())
    text = table(["training pictures", "cross-entropy", "MAE"], cells)
    publish(arguments, {"pictures": num, "rows": means}, text, f"{num} pictures")


def errors(session: Session, image: Tensor, mask: Tensor) -> tuple[float, float]:
    """Cross-entropy and MAE of the map of one pair, at the size of the network."""
    pixels = Image.fromarray(image.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy())
    output = torch.from_numpy(session.backend(session.card.transform.preprocess(pixels)[None])[0][:1])
    truth = interpolate(mask[None].float() / 255, output.shape[1:], mode="bilinear", antialias=True)[0].clamp(0, 1)
    entropy = binary_cross_entropy(output.clamp(1e-6, 1 - 1e-6), truth)
    return float(entropy), float((output - truth).abs().mean())


if __name__ == "__main__":
    main()
