"""`u2net frames`, rembg's `b`: raw frames from stdin, cut-outs as numbered files or to stdout."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from u2net.cli.failure import Refusal, one_line_errors, say
from u2net.cli.film import FilmOptions
from u2net.cli.options import check_free, config_options, given_options, overwrite_option
from u2net.cli.remove import flags_named, new_config
from u2net.cutout.config import CutoutConfig

if TYPE_CHECKING:
    from u2net.video import Frame

_ASKED = (
    *("model", "quality", "looks", "only_mask", "post_process_mask", "keep_colors", "decontaminate", "background"),
    "runtime",
)


@click.command()
@click.argument("width", type=click.IntRange(1, 65_535))
@click.argument("height", type=click.IntRange(1, 65_535))
@click.option(
    "-o",
    "--output",
    metavar="NAME%d.png",
    help="Write each frame to a file; %d in the name is its number, from 0. Without it, PNG files go to stdout.",
)
@click.option("--raw", is_flag=True, help="Write raw RGBA to stdout, or raw grey with --only-mask.")
@config_options(FilmOptions, only=("steady",))
@config_options(CutoutConfig, only=_ASKED)
@overwrite_option
def frames(
    width: int, height: int, output: str | None, raw: bool, steady: float | None, overwrite: bool, **values: Any
) -> None:
    """Cut the subject out of raw frames from a pipe, RGB24 of WIDTH × HEIGHT pixels.

    \b
    Example:
      ffmpeg -i clip.mp4 -f rawvideo -pix_fmt rgb24 - | u2net frames 1280 720 -o 'frame-%04d.png'

    For films that FFmpeg reads, `u2net remove clip.mp4 clip.webm` does all of this by itself.
    """  # noqa: D301
    with one_line_errors():
        from u2net.images.limits import check_size, own_limits

        check_size((width, height), own_limits())
        if output is not None and (raw or not re.fullmatch(r"[^%]*%(0\d+)?d[^%]*", output)):
            raise Refusal("--raw goes to stdout" if raw else "-o needs one %d or %04d for the number of a frame")
        if output is None and sys.stdout.isatty():
            raise Refusal("stdout is a terminal: give -o, or pipe the frames to a program")
        if sys.stdin.isatty():
            raise Refusal("pipe raw frames in")
        with flags_named():
            film = FilmOptions() if steady is None else FilmOptions(steady=steady)
        sys.exit(_cut(width, height, output, new_config(given_options(values)), film, raw, overwrite))


def _cut(
    width: int, height: int, output: str | None, config: CutoutConfig, film: FilmOptions, raw: bool, overwrite: bool
) -> int:
    from u2net.cutout.cutter import Cutter
    from u2net.images.save import encode, save_bytes
    from u2net.video import cut_out_frames

    left_over: list[int] = []
    session = Cutter(config, throughput=True).open()
    with open(1, "wb", closefd=False) as stdout:
        cuts = cut_out_frames(_frames(sys.stdin.buffer, width, height, left_over), session, config, film.steady)
        for num, cut in enumerate(cuts):
            content = cut.image.tobytes() if raw else encode(cut.image, "png")
            if output is None:
                stdout.write(content)
            else:
                target = Path(output % num)
                check_free(target, overwrite=overwrite)
                target.parent.mkdir(parents=True, exist_ok=True)
                save_bytes(content, target)
    if left_over:
        say(f"u2net: stdin ended within a frame: {left_over[0]:,} of {3 * width * height:,} bytes", err=True)
    return 1 if left_over else 0


def _frames(stdin: BinaryIO, width: int, height: int, left_over: list[int]) -> Iterator[Frame]:
    """The frames of a pipe, 25 a second; how many bytes are left over of one that is cut off."""
    import numpy as np

    from u2net.video import Frame
    from u2net.video.film import as_picture

    size, num = 3 * width * height, 0
    while content := stdin.read(size):
        if len(content) < size:
            left_over.append(len(content))
            return
        pixels = np.frombuffer(content, np.uint8).reshape(height, width, 3)
        yield Frame(as_picture(pixels), Fraction(num, 25))
        num += 1
