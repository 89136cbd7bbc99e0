"""Motion of a film: by comparing blocks, as `u2net.video.steady` does, or by the vectors that its codec stored.

    PYTHONPATH=benchmarks python experiments/codec_vectors.py CLIPS [--model u2netp_distilled] [--quick] [--json FILE]

CLIPS is laid out as for benchmarks/video.py, whose scores are printed. What FFmpeg exports of H.264 does not say which
frame a vector refers to. So each clip is encoded anew, without frames that refer to later ones and with one reference:
then it is always the frame before, which is the best that can be hoped for. Blocks without a vector count as still; the
way to the next frame is that of the frame after, turned round. "both" takes at each place what looks more alike.
"""

import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from bench import new_parser, publish, table
from numpy.typing import NDArray
from video import score

from u2net import new_session
from u2net.cutout.matting.guided import box_mean
from u2net.video import steady
from u2net.video.container import load_av
from u2net.video.cut import STEADY
from u2net.video.film import open_film

Floats = NDArray[np.float32]
Way = tuple[Floats, Floats]
Ways = Callable[[Floats, Floats], tuple[Way | None, Way | None]]

COLUMNS = ("IoU", "BIoU", "flicker", "dtSSD")


def main() -> None:
    """Measure, print, write if asked."""
    parser = new_parser(__doc__, "two clips")
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("--model", default="u2netp_distilled", metavar="NAME")
    arguments = parser.parse_args()
    load_av()
    paths = sorted(arguments.clips.glob("*.mp4"))[: 2 if arguments.quick else None]
    blocks: Ways = steady._ways
    found: dict[str, list[dict[str, float]]] = {"blocks": [], "vectors": [], "both": []}
    with tempfile.TemporaryDirectory() as name, new_session(arguments.model) as session:
        for path in paths:
            film = Path(name) / path.name
            encode(path, film)
            film.with_suffix(".masks").symlink_to(path.with_suffix(".masks").resolve())
            vectors = by_vectors(film)
            for way, find in {"blocks": blocks, "vectors": vectors, "both": better(blocks, vectors)}.items():
                steady._ways = find
                found[way].append(score(film, session, STEADY, None))
    rows: list[dict[str, Any]] = []
    for way, clips in found.items():
        scores = {key: float(np.mean([clip[key] for clip in clips])) for key in COLUMNS}
        rows.append({"motion": way} | scores)
    cells = ([row["motion"], *(f"{row[key]:.4f}" for key in COLUMNS)] for row in rows)
    publish(arguments, {"rows": rows}, table(["motion", *COLUMNS], cells), f"{len(paths)} clips; {arguments.model}")


def encode(source: Path, target: Path) -> None:
    """The clip as H.264 in which each frame refers to the one before it alone."""
    with av.open(str(source)) as film, av.open(str(target), "w") as made:
        options = {"crf": "18", "bf": "0", "refs": "1", "sc_threshold": "0"}
        stream: Any = made.add_stream("libx264", rate=Fraction(25), options=options)
        stream.pix_fmt, (stream.width, stream.height) = "yuv420p", video_size(film)
        for num, frame in enumerate(film.decode(video=0)):
            frame.pts, frame.time_base = num, Fraction(1, 25)
            made.mux(stream.encode(frame))
        made.mux(stream.encode())


def video_size(film: Any) -> tuple[int, int]:
    """Width and height."""
    return film.streams.video[0].width, film.streams.video[0].height


def by_vectors(path: Path) -> Ways:
    """What finds the motion between two neighbouring frames of a film by the vectors that are stored there."""
    with open_film(path) as film:
        known = [steady.small_picture(frame.picture.rgb) for frame in film.frames()]
    places = {small.tobytes(): place for place, small in enumerate(known)}
    side = known[0].shape[-1]
    with av.open(str(path)) as source:
        source.streams.video[0].codec_context.options = {"flags2": "+export_mvs"}
        stored = [frame.side_data.get("MOTION_VECTORS") for frame in source.decode(video=0)]
        arrays = [None if part is None else part.to_ndarray() for part in stored]
        scale = side / np.array(video_size(source))

    def find(one: Floats, other: Floats) -> tuple[Way | None, Way | None]:
        if np.abs(one[0] - other[0]).mean() > steady._CUT:
            return None, None
        vectors = arrays[places[other.tobytes()]]
        back = np.zeros((2, side, side), np.float32)
        for vector in () if vectors is None else vectors:
            # Where the block comes from, seen from there; its middle and its size.
            right, down = np.array([vector["motion_x"], vector["motion_y"]]) / vector["motion_scale"] * scale
            (x, y), (w, h) = (np.array([vector[a], vector[b]]) * scale for a, b in (("dst_x", "dst_y"), ("w", "h")))
            left, top = round(x - w / 2), round(y - h / 2)
            block = slice(max(top, 0), round(y + h / 2)), slice(max(left, 0), round(x + w / 2))
            back[0][block], back[1][block] = down, right
        onward = steady.moved(-back, -back)
        return (onward, likeness(one, other, onward)), (back, likeness(other, one, back))

    return find


def likeness(here: Floats, there: Floats, flow: Floats) -> Floats:
    """How alike places are, 0 to 1, as `steady.motion` counts it."""
    apart = np.abs(steady.moved(there, flow) - here)
    least = np.maximum(*(box_mean(part, steady._BLOCK) for part in (apart[0], apart[1:].sum(axis=0))))
    return np.asarray(np.exp(-((least / steady._ALIKE) ** 2)))


def better(first: Ways, second: Ways) -> Ways:
    """At each place the motion by which it looks more alike."""

    def find(one: Floats, other: Floats) -> tuple[Way | None, Way | None]:
        made: list[Way | None] = []
        for mine, theirs in zip(first(one, other), second(one, other), strict=True):
            if mine is None or theirs is None:
                made.append(mine)
                continue
            chosen = theirs[1] > mine[1]
            made.append((np.where(chosen, theirs[0], mine[0]), np.maximum(theirs[1], mine[1])))
        return made[0], made[1]

    return find


if __name__ == "__main__":
    main()
