"""Films: how near outlines are to the truth and how steady, and frames a second beside rembg's.

    python benchmarks/video.py CLIPS [--model NAME …] [--speed [--backgroundremover]] [--rounds N] [--quick]
        [--json FILE] [--peer PYTHON]

CLIPS holds NAME.mp4 and NAME.masks/NNNNN.png, one mask a frame. Each film is cut out frame by frame, and steadied. IoU
and boundary IoU are means over the frames of a clip, and then over clips. "flicker" is the warping error of Lai et al.,
Learning Blind Video Temporal Consistency, ECCV 2018: the mean absolute difference of the alpha, 0 to 1, between
neighbouring frames along the optical flow of the pictures (OpenCV's DIS, which we did not write), where the flow there
and back agree. dtSSD is that of Erofeev et al., Perceptually Motivated Benchmark for Video Matting, BMVC 2015: changes
of the alpha in time beside those of the true masks. For both less is better, and the truth has the first one too.

With --speed the first clip, at 854 × 480 and at 1920 × 1080, goes through `u2net remove` to a transparent WebM and
through `rembg b`, which gets raw frames from a pipe and writes PNG files; both take turns, with the weights of u2netp.
Ours goes as it comes, and with `--quality coarse`: masks as the network gives them, which is all that the others make.
--backgroundremover has a third side: that package's transparent WebM. It gets an environment of its own, of 5 GB, and
needs the programs ffmpeg and ffprobe.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter
from typing import Any

import av
import cv2
import numpy as np
import torch
from bench import in_turns, named, new_parser, publish, ratio_row, ratio_table, table, versions
from numpy.typing import NDArray
from PIL import Image
from sides import install_peer

from u2net import Session, new_session
from u2net.cutout.config import CutoutConfig
from u2net.evaluation.metrics import BoundaryIoU, Pair
from u2net.models.zoo import resolve
from u2net.net.checkpoint import to_authors_key
from u2net.net.weight_files import load_checkpoint
from u2net.video import cut_out_frames, open_film
from u2net.video.container import load_av
from u2net.video.cut import STEADY

VERSION = "2.0.86"
BACKGROUNDREMOVER = "0.4.5"
WAYS = {"frame by frame": 0.0, "steadied": STEADY}
OUTLINES = {"": [], ", coarse": ["--quality", "coarse"]}
SIDE = 480  # longer side at which flow is found
Floats = NDArray[np.float32]


def main() -> None:
    """Measure, print, write if asked."""
    parser = new_parser(__doc__, "two clips, 12 frames each, u2netp_distilled alone")
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("--model", action="append", metavar="NAME", help="[default: u2netp_distilled and u2net]")
    parser.add_argument("--speed", action="store_true", help="measure the speed too")
    parser.add_argument("--backgroundremover", action="store_true", help="measure its speed too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has rembg  [default: one in .peers]")
    arguments = parser.parse_args()
    load_av()
    paths = sorted(arguments.clips.glob("*.mp4"))[: 2 if arguments.quick else None]
    models = arguments.model or (["u2netp_distilled"] if arguments.quick else ["u2netp_distilled", "u2net"])
    most = 12 if arguments.quick else None
    speed = []
    if arguments.speed:
        peers = {"rembg b": arguments.peer or install_peer("rembg", VERSION, "[cpu,cli]")}
        if arguments.backgroundremover:
            peers["backgroundremover"] = install_peer("backgroundremover", BACKGROUNDREMOVER)
        speed = speeds(paths[0], peers, 2 if arguments.quick else arguments.rounds)
    rows = []
    for model in models:
        with new_session(model) as session:
            found = {way: [score(path, session, steady, most) for path in paths] for way, steady in WAYS.items()}
        for way, clips in found.items():
            row = {key: float(np.mean([clip[key] for clip in clips])) for key in clips[0]}
            rows.append(
                {"model": model, "way": way, **row, "clips": dict(zip((p.stem for p in paths), clips, strict=True))}
            )
    text = to_markdown(rows)
    if speed:
        shares = ", ".join(sorted({f"{row['share_of_processors']:.0%}" for row in speed}))
        text += "\n" + ratio_table(speed, "u2net", "the peer") + f"\nu2net used {shares} of the processors.\n"
    packages = versions("u2net", "openvino", "onnxruntime", "av", "opencv-python-headless")
    publish(arguments, {"rows": rows, "speed": speed}, text, f"{len(paths)} clips; {named(packages)}")


def score(path: Path, session: Session, steady: float, most: int | None) -> dict[str, float]:
    """The scores of one clip."""
    with open_film(path) as film:
        frames = list(film.frames())[:most]
    cuts = cut_out_frames(iter(frames), session, CutoutConfig(only_mask=True), steady)
    alphas = [np.asarray(cut.image) for cut in cuts]
    masks = [
        np.asarray(Image.open(path.with_suffix(".masks") / f"{i:05}.png").convert("L")) for i in range(len(frames))
    ]
    boundary, overlaps = BoundaryIoU(), []
    for alpha, mask in zip(alphas, masks, strict=True):
        boundary.step(Pair(alpha, mask))
        seen, true = alpha > 127, mask > 127
        overlaps.append((seen & true).sum() / max((seen | true).sum(), 1))
    maps, truths = ([small(image) for image in images] for images in (alphas, masks))
    greys = [np.asarray(frame.picture.rgb.convert("L").resize(maps[0].shape[::-1])) for frame in frames]
    flows = [flow(*pair) for pair in pairwise(greys)]
    return {
        "IoU": float(np.mean(overlaps)),
        "BIoU": boundary.results()["BIoU"],
        "flicker": flicker(maps, flows),
        "of the truth": flicker(truths, flows),
        "dtSSD": float(
            np.mean([np.sqrt(((np.diff(m, axis=0) - np.diff(t, axis=0)) ** 2).mean()) for m, t in pairs(maps, truths)])
        ),
    }


def pairs(maps: list[Floats], truths: list[Floats]) -> Iterator[tuple[Floats, Floats]]:
    """Each map with the one after it, and the same of the truth."""
    for both in zip(pairwise(maps), pairwise(truths), strict=True):
        yield np.stack(both[0]), np.stack(both[1])


def small(image: NDArray[np.uint8]) -> Floats:
    """A mask at the size at which flow is found, 0 to 1."""
    scale = SIDE / max(image.shape)
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX), np.float32) / np.float32(255)


def flow(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Where the pixels of a picture lie in the next, x and y, and where the way back leads to the same place."""
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there, back = finder.calc(one, other, None), finder.calc(other, one, None)
    y, x = np.mgrid[: one.shape[0], : one.shape[1]].astype(np.float32)
    x, y = x + there[..., 0], y + there[..., 1]
    returned = there + cv2.remap(back, x, y, cv2.INTER_LINEAR)
    # The condition of Sundaram et al., ECCV 2010, as Lai et al. take it.
    agrees = (returned**2).sum(axis=2) < 0.01 * ((there**2).sum(axis=2) + (back**2).sum(axis=2)) + 0.5
    return x, y, agrees


def flicker(maps: list[Floats], flows: list[Any]) -> float:
    """The warping error."""
    errors = []
    for (x, y, agrees), (one, other) in zip(flows, pairwise(maps), strict=True):
        errors.append(np.abs(one - cv2.remap(other, x, y, cv2.INTER_LINEAR))[agrees].mean())
    return float(np.mean(errors))


# ---- Speed -----------------------------------------------------------------------------------------------------


def speeds(clip: Path, peers: dict[str, str], num_rounds: int) -> list[dict[str, Any]]:
    """Frames a second beside each peer, by name and interpreter, at two sizes; the share of the processors is ours."""
    rows = []
    programs = {peer: Path(python).with_name(peer.split()[0]) for peer, python in peers.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(resolve("u2netp"), folder / "u2netp.onnx")
        network = load_checkpoint(folder / "u2netp.onnx").network
        torch.save({to_authors_key(key): value for key, value in network.state_dict().items()}, folder / "u2netp.pth")
        known = {"U2NET_HOME": name, "MODEL_CHECKSUM_DISABLED": "1", "U2NETP_PATH": str(folder / "u2netp.pth")}
        for size in ((854, 480), (1920, 1080)):
            film, raw, num = prepare(clip, size, folder)
            remove = [sys.executable, "-m", "u2net", "remove", film, "-o", folder / "out.webm", "--overwrite"]
            asked = {
                "rembg b": (["b", *map(str, size), "-o", folder / "r%04d.png"], raw),
                "backgroundremover": (["-i", film, "-tv", "-o", folder / "theirs.webm"], None),
            }
            sides = [partial(timed, [*remove, "-m", "u2netp", *options]) for options in OUTLINES.values()]
            for peer, program in programs.items():
                options, piped = asked[peer]
                sides.append(partial(timed, [program, *options, "-m", "u2netp"], piped, os.environ | known))
            took = list(zip(*in_turns(sides, num_rounds), strict=True))
            rates = [[num / seconds for seconds, _ in side] for side in took]
            own, others = rates[: len(OUTLINES)], rates[len(OUTLINES) :]
            share = np.median([cpu / seconds for seconds, cpu in took[0]]) / (os.cpu_count() or 1)
            pairs_of_sides = product(zip(OUTLINES, own, strict=True), zip(peers, others, strict=True))
            for (outline, ours), (peer, theirs) in pairs_of_sides:
                row = ratio_row(
                    f"{size[0]} × {size[1]}{outline}, {peer}", "frames/s", ours, theirs, rate=True, digits=2
                )
                rows.append(row | {"share_of_processors": round(float(share), 2)})
    return rows


def timed(command: list[Any], piped: Path | None = None, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Seconds on the clock and of processors that a command takes, into which a file is piped."""
    before, start = getrusage(RUSAGE_CHILDREN), perf_counter()
    with subprocess.Popen(["cat", piped or os.devnull], stdout=subprocess.PIPE) as source:
        subprocess.run(command, check=True, stdin=source.stdout, stdout=subprocess.DEVNULL, env=env)
    seconds, after = perf_counter() - start, getrusage(RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(clip: Path, size: tuple[int, int], folder: Path) -> tuple[Path, Path, int]:
    """The clip at a size, as H.264 and as raw frames, and how many there are."""
    film, raw, frames = folder / "film.mp4", folder / "film.rgb", frames_of(clip, size)
    write_film(film, frames, size)
    with raw.open("wb") as pipe:
        for frame in frames:
            pipe.write(frame.to_ndarray(format="rgb24").tobytes())
    return film, raw, len(frames)


def frames_of(clip: Path, size: tuple[int, int]) -> list[av.VideoFrame]:
    """The frames of a clip at a size, in 4:2:0."""
    with av.open(str(clip)) as source:
        return [frame.reformat(*size, format="yuv420p") for frame in source.decode(video=0)]


def write_film(film: Path, frames: Iterable[av.VideoFrame], size: tuple[int, int]) -> None:
    """Write frames as H.264, 25 a second."""
    with av.open(str(film), "w") as target:
        stream: Any = target.add_stream("libx264", rate=Fraction(25), options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for num, frame in enumerate(frames):
            frame.pts, frame.time_base = num, Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The table of scores."""
    keys = ("IoU", "BIoU", "flicker", "of the truth", "dtSSD")
    cells = ([row["model"], row["way"], *(f"{row[key]:.4f}" for key in keys)] for row in rows)
    return table(["model", "", *keys], cells, num_text=2)


if __name__ == "__main__":
    main()
