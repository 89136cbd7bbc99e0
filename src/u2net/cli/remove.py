"""`u2net remove`, with rembg's short flags."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from u2net.cli.failure import Refusal, one_line_errors, printable, quiet_decoders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from u2net.background import Color
    from u2net.batch import Outcome
    from u2net.encoding import Format

_PIPE = Path("-")  # stdin as a source, stdout as a target


def _refuse_matting(_context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        raise Refusal(f"{parameter.opts[0]} is not supported: this version has no alpha matting")


def _color(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Color | None:
    if value is None:
        return None
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a colour: give a name, #rrggbb, #rrggbbaa, rgb(…) or hsl(…)"
        ) from None


def _rembg_color(
    _context: click.Context, _parameter: click.Parameter, value: tuple[int, int, int, int] | None
) -> tuple[int, int, int, int] | None:
    return value if value and any(value) else None  # 0 0 0 0 is rembg's way to say none


@click.command()
@click.argument("input", default="-", metavar="[INPUT]", type=click.Path(allow_dash=True))
@click.argument("output", required=False, type=click.Path(allow_dash=True))
@click.option("-m", "--model", metavar="NAME|FILE", help="A model's name or file.  [default: u2netp]")
@click.option("-om", "--mask", "--only-mask", "only_mask", is_flag=True, help="Write the mask, not the cut-out.")
@click.option("-ppm", "--post-process-mask", is_flag=True, help="Make the mask hard, with smooth outlines.")
@click.option("--background", metavar="COLOR", callback=_color, help="Put the cut-out over a colour, e.g. white.")
@click.option(
    "-bgc",
    "--bgcolor",
    metavar="R G B A",
    nargs=4,
    type=click.IntRange(0, 255),
    callback=_rembg_color,
    help="The same as four numbers from 0 to 255.",
)
@click.option(
    "--format", "format_", type=click.Choice(["png", "webp", "jpg"]), help="[default: as OUTPUT ends, or png]"
)
@click.option(
    "--png-level",
    type=click.IntRange(1, 9),
    default=1,
    show_default=True,
    help="From 6 up files are smaller by a few hundredths, and take several times as long.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
@click.option("--runtime", type=click.Choice(["auto", "onnxruntime", "openvino"]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "int8"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of the runtime.  [default: its own choice]")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on stdout.")
@click.option("-a", "--alpha-matting", is_flag=True, hidden=True, expose_value=False, callback=_refuse_matting)
@click.option("-af", "--alpha-matting-foreground-threshold", hidden=True, expose_value=False, callback=_refuse_matting)
@click.option("-ab", "--alpha-matting-background-threshold", hidden=True, expose_value=False, callback=_refuse_matting)
@click.option("-ae", "--alpha-matting-erode-size", hidden=True, expose_value=False, callback=_refuse_matting)
@click.option("-dc", "--decontaminate", is_flag=True, hidden=True, expose_value=False, callback=_refuse_matting)
@click.option("-vm", "--vitmatte", is_flag=True, hidden=True, expose_value=False, callback=_refuse_matting)
def remove(
    input: str,  # noqa: A002
    output: str | None,
    model: str | None,
    only_mask: bool,
    post_process_mask: bool,
    background: Color | None,
    bgcolor: Color | None,
    format_: Format | None,
    png_level: int,
    overwrite: bool,
    runtime: Literal["auto", "onnxruntime", "openvino"],
    precision: Literal["auto", "fp32", "bf16", "int8"],
    threads: int | None,
    as_json: bool,
) -> None:
    """Cut the subject out of a picture, or out of every picture in a folder.

    INPUT is a file, a folder, or - for stdin. OUTPUT is a file, a folder, or - for stdout; without it a.jpg becomes
    a.out.png beside it, and a folder becomes FOLDER.out. A folder's sub-folders are kept; no picture is lost by
    another's name.
    """
    with one_line_errors():
        if background and bgcolor:
            raise Refusal("--background and --bgcolor are the same option: give one")
        color = background or bgcolor
        if color and only_mask:
            raise Refusal("a mask has no background: give --mask or a colour")
        folder = os.path.isdir(input)  # unlike Path.is_dir, it bears folders that may not be looked into
        source, target, format_ = _places(input, output, format_, folder=folder, overwrite=overwrite)
        if as_json and target == _PIPE:
            raise Refusal("the picture and --json cannot both go to stdout")
        if format_ == "jpg" and not only_mask:
            color = color or (255, 255, 255)  # JPEG has no transparency
            if len(color) == 4 and color[3] < 255:
                raise Refusal("JPEG has no transparency: give an opaque background, or --format png or webp")

        from u2net.background import new_session, render
        from u2net.batch import Job, plan, run
        from u2net.encoding import encode, save_image
        from u2net.errors import InvalidImage
        from u2net.image import LIMITS, Picture, load_image
        from u2net.zoo import DEFAULT

        jobs, failures = plan(source, target, f".{format_}") if folder else ([Job(source, target)], [])
        model = DEFAULT if model is None else model
        terminal = sys.stderr is not None and sys.stderr.isatty()

        # Here, for nothing interrupts a thread that waits for more.
        piped = sys.stdin.buffer.read(LIMITS.max_bytes + 1) if source == _PIPE else None

        def load(source: Path) -> Picture:
            if piped == b"":
                raise InvalidImage("nothing was received")
            return load_image(piped or source)

        def make(source: Path, target: Path) -> None:
            assert session is not None
            picture = ahead.pop().result() if ahead else load(source)
            image = render(
                picture,
                session,
                only_mask=only_mask,
                post_process_mask=post_process_mask,
                bgcolor=color,
                last=not folder,
            )
            if format_ == "jpg" and not only_mask:
                image = image.convert("RGB")
            if target == _PIPE:
                with open(1, "wb", closefd=False) as stdout:  # sys.stdout may be unbuffered, and then writes in part
                    stdout.write(encode(image, format_, picture.icc_profile, png_level=png_level))
            else:
                save_image(image, target, picture.icc_profile, png_level=png_level)

        with quiet_decoders(), ThreadPoolExecutor(1) as pool:
            # A single picture is decoded while the runtime is loaded and reads the model.
            ahead = [] if folder else [pool.submit(load, source)]
            session = None
            if jobs:
                session = new_session(model, runtime=runtime, precision=precision, threads=threads, progress=terminal)
            finished: list[Outcome] = []
            outcomes: Iterable[Outcome] = chain(
                failures, run(jobs, make, overwrite=overwrite or not folder, workers=2 if folder else 1)
            )
            tell: Callable[[str], None] = partial(click.echo, err=True)
            if folder:
                from tqdm import tqdm

                num = len(failures) + len(jobs)
                outcomes = tqdm(outcomes, total=num, unit="picture", disable=not terminal)
                tell = partial(tqdm.write, file=sys.stderr)
            try:
                for outcome in outcomes:
                    finished.append(outcome)
                    if outcome.status == "failed":
                        tell(f"u2net: {printable(outcome.source)}: {printable(outcome.reason)}")
            finally:
                _report(finished, folder=folder, as_json=as_json)
    if any(outcome.status == "failed" for outcome in finished):
        sys.exit(1)


def _places(
    input: str,  # noqa: A002
    output: str | None,
    format_: Format | None,
    *,
    folder: bool,
    overwrite: bool,
) -> tuple[Path, Path, Format]:
    """Source, target and format. Raises Refusal where they make no sense together, or a file would be lost."""
    from u2net.encoding import SUFFIXES

    if input == "" or output == "":
        raise Refusal("a name is empty")
    source = _as_path(input)
    if source == _PIPE:
        if sys.stdin is None or sys.stdin.isatty():
            raise Refusal("give a picture or a folder, or pipe a picture in")
    elif not os.path.lexists(source):
        raise Refusal(f"there is no {input}")
    default_format: Format = format_ or "png"
    if folder:
        real = Path(os.path.realpath(source))
        if output is None and not real.name:
            raise Refusal("give OUTPUT: there is no name for what this folder becomes")
        beside = source if source.name not in ("", "..") else real
        target = Path(output) if output else beside.with_name(f"{beside.name}.out")
        if output == "-" or os.path.isfile(target) or os.path.realpath(target) == str(real):
            raise Refusal("a folder needs another folder to go to")
        return source, target, default_format
    if output is None:
        output = "-" if source == _PIPE else str(source.with_name(f"{source.stem}.out.{default_format}"))
    target = _as_path(output)
    if target == _PIPE:
        if sys.stdout is None or sys.stdout.isatty():
            raise Refusal("a picture is not for the terminal: give OUTPUT, or pipe it on")
        return source, target, default_format
    if os.path.isdir(target) or output.endswith(("/", os.sep)):
        if source == _PIPE:
            raise Refusal("a picture from stdin needs a name: give OUTPUT as a file")
        target /= f"{source.stem}.{default_format}"
    named = SUFFIXES.get(target.suffix.lower())
    if named is None or named != (format_ or named):
        raise Refusal(f"{target.name} does not end in " + (f".{format_}" if format_ else ".png, .webp or .jpg"))
    if os.path.isfile(target):
        if source != _PIPE and os.path.samefile(target, source):
            raise Refusal(f"{output} would replace the picture itself")
        if not overwrite:
            raise Refusal(f"{target} is there already: --overwrite replaces it")
    return source, target, named


def _as_path(name: str) -> Path:
    """The path of a name; "-" alone is a pipe, and "./-" a file of that name."""
    path = Path(name)
    return path.absolute() if path == _PIPE and name != "-" else path


def _report(outcomes: list[Outcome], *, folder: bool, as_json: bool) -> None:
    """What was done, on stdout, unless the picture itself goes there."""
    if as_json:
        rows = [asdict(outcome) for outcome in outcomes]
        click.echo(json.dumps({"pictures": rows}, indent=2, default=str))
    elif folder:
        counts = Counter(outcome.status for outcome in outcomes)
        click.echo(", ".join(f"{counts[status]} {status}" for status in ("done", "skipped", "failed")))
    elif outcomes and outcomes[0].status == "done" and outcomes[0].target != _PIPE:
        click.echo(f"wrote {printable(outcomes[0].target)}")
