"""What each step of a cut-out gives: it alone is done the plain way instead, in turn with the way it is done."""

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageCms

from u2net import remove
from u2net.cutout import compose as cutout
from u2net.cutout import finish
from u2net.images import png
from u2net.images import save as encoding
from u2net.images.load import Picture, load_image
from u2net.images.png import to_png
from u2net.inference import open as opening
from u2net.inference import session
from u2net.models import transform
from u2net.models.zoo import find

Way = Callable[[], object]


@dataclass(frozen=True)
class Step:
    """One row: two ways to the same, and a remark on what else differs."""

    name: str
    as_is: Way
    plainly: Way
    remark: str = ""


def measure_steps(photo: Path, num_rounds: int) -> list[dict[str, Any]]:
    """Rows, milliseconds: each step's two ways, interleaved, after one round to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        place = Path(folder)
        for step in (
            *steps(photo.read_bytes()),
            start_step(photo, place),
            graph_step(place),
        ):
            rounds = [[seconds(way) for way in (step.as_is, step.plainly)] for _ in range(num_rounds + 1)][1:]
            saved = [1000 * (plain - ours) for ours, plain in rounds]
            rows.append(
                {"name": step.name, "unit": "ms", "rounds": num_rounds, "remark": step.remark}
                | {key: round(1000 * median(pair[i] for pair in rounds)) for i, key in enumerate(("with", "without"))}
                | {"saves": round(median(saved)), "saves_min": round(min(saved)), "saves_max": round(max(saved))}
            )
    return rows


def steps(content: bytes) -> list[Step]:
    """The steps of one warm call, each by the whole call."""
    model, authors = opening.new_session(), opening.new_session("u2netp")
    profile = wide_profile()
    wide = io.BytesIO()
    Image.open(io.BytesIO(content)).save(wide, "JPEG", quality=95, icc_profile=profile)
    call = lambda content=content: remove(content, session=model)  # noqa: E731
    coarse = lambda: remove(content, session=model, quality="coarse")  # noqa: E731
    finished = Image.open(io.BytesIO(call()))
    finished.load()
    finished.info = {}
    ours, pillows, first = len(to_png(finished)), len(by_pillow(finished)), len(by_pillow(finished, level=1))

    def without(target: object, name: str, value: object, call: Way = call) -> Way:
        def way() -> None:
            with patch.object(target, name, value):
                call()

        return way

    return [
        Step(
            "PNG: our writer, not Pillow's default",
            call,
            without(encoding, "to_png", by_pillow),
            f"the file is {ours / pillows - 1:+.1%} of Pillow's",
        ),
        Step(
            "PNG: our writer, not Pillow's fastest level",
            call,
            without(encoding, "to_png", lambda image, profile, *_: by_pillow(image, profile, 1)),
            f"whose file is {first / pillows - 1:+.1%} of its default",
        ),
        Step("PNG: bands in threads, not one after another", call, without(png, "in_threads", one_by_one)),
        Step(
            "coarse: the map is enlarged in stripes, not in whole rows",
            coarse,
            without(transform, "enlarge", enlarge_whole, coarse),
        ),
        Step(
            "u2netp: only the pixels that are sampled become an array",
            lambda: remove(content, session=authors),
            without(session.Session, "_see", see_all, lambda: remove(content, session=authors)),
        ),
        Step(
            "Display P3: only the network's pixels are converted",
            lambda: call(wide.getvalue()),
            without(session.Session, "_see", see_all, lambda: call(wide.getvalue())),
        ),
        Step("one decode for network and output, not two", call, decode_twice(content, call)),
        Step("outlines as the network gives them, not refined", coarse, call, "the other is the default"),
        Step(
            "the picture becomes the cut-out, and is not copied", call, without(finish, "with_alpha", cut_out_of_a_copy)
        ),
    ]


def one_by_one(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """`in_threads` without threads."""
    return [work(item) for item in items]


def by_pillow(image: Image.Image, icc_profile: bytes | None = None, level: int = 6, *_: object) -> bytes:
    """PNG as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=level, icc_profile=icc_profile)
    return buffer.getvalue()


def enlarge_whole(values: NDArray[Any], size: tuple[int, int], kernel: Image.Resampling) -> NDArray[Any]:
    """A map at another size by Pillow alone."""
    return np.array(Image.fromarray(values).resize(size, kernel))


def see_all(self: session.Session, picture: Picture) -> Any:
    """The network's input by way of the whole picture."""
    return self.card.transform.preprocess(picture.view())


def decode_twice(content: bytes, call: Way) -> Way:
    """Another decode, as where network and output are served apart."""

    def way() -> None:
        load_image(content)
        call()

    return way


def cut_out_of_a_copy(rgb: Image.Image, alpha: NDArray[np.uint8], *, keep_hidden: bool, in_place: bool) -> Image.Image:
    """The cut-out beside its picture, which stays."""
    assert in_place
    return cutout.with_alpha(rgb, alpha, keep_hidden=keep_hidden)


def wide_profile() -> bytes:
    """A profile that is not sRGB's: its red and green primaries change places."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")


def graph_step(folder: Path) -> Step:
    """A session opened, and the same from a graph that ONNX Runtime has optimised and saved."""
    saved = folder / "saved.onnx"
    plain, saving, ready = (onnxruntime.SessionOptions() for _ in range(3))
    saving.optimized_model_filepath = str(saved)
    ready.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for options in (plain, saving, ready):
        options.log_severity_level = 4
    model = find("u2netp")
    onnxruntime.InferenceSession(model, saving)
    return Step(
        "a session opened from the model; without: from a saved optimised graph",
        lambda: onnxruntime.InferenceSession(model, plain),
        lambda: onnxruntime.InferenceSession(saved, ready),
        "not done",
    )


# Runs the command line with a pool whose tasks wait until their results are asked for.
LATER = """
import sys
from u2net.__main__ import main
import u2net.cutout.cutter
class Later:
    def __init__(self, *_): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def submit(self, function, *given):
        self.result = lambda: function(*given)
        return self
sys.modules["u2net.cutout.cutter"].ThreadPoolExecutor = Later
main()
"""


def start_step(photo: Path, folder: Path) -> Step:
    """The command, and the same with the picture decoded after the runtime is loaded."""
    arguments = ["remove", str(photo), "-o", str(folder / "start.png"), "--overwrite"]

    def way(*python: str) -> Way:
        return lambda: subprocess.run([sys.executable, *python, *arguments], check=True, capture_output=True)

    return Step("command: decoded while the runtime loads", way("-m", "u2net"), way("-c", LATER))


def seconds(way: Way) -> float:
    """On the clock."""
    start = perf_counter()
    way()
    return perf_counter() - start
