"""`u2net remove`, with rembg's short flags."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from u2net.cli.failure import Refusal, one_line_errors, quiet_decoders

if TYPE_CHECKING:
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
@click.argument("input", default="-", metavar="[INPUT]")
@click.argument("output", required=False)
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
@click.option("--overwrite", is_flag=True, help="In a folder, replace files that are there already.")
@click.option("--runtime", type=click.Choice(["onnxruntime", "openvino"]), default="onnxruntime", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Threads of the runtime.  [default: its own choice]")
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
    overwrite: bool,
    runtime: Literal["onnxruntime", "openvino"],
    threads: int | None,
    as_json: bool,
) -> None:
    """Cut the subject out of a picture, or out of every picture in a folder.

    INPUT is a file, a folder, or - for stdin. OUTPUT is a file, a folder, or - for stdout; without it a.jpg becomes
    a.out.png beside it, and a folder becomes FOLDER.out. A folder's sub-folders are kept; no picture is lost by
    another's name.
    """
    if background and bgcolor:
        raise Refusal("--background and --bgcolor are the same option: give one")
    folder = Path(input).is_dir()
    source, target, format_ = _places(input, output, format_, folder)
    color = background or bgcolor
    if format_ == "jpg" and not only_mask:
        color = color or (255, 255, 255)  # JPEG has no transparency
        if len(color) == 4 and color[3] < 255:
            raise Refusal("JPEG has no transparency: give an opaque background, or --format png or webp")
    with one_line_errors():
        from tqdm import tqdm

        from u2net.background import new_session, render
        from u2net.batch import Job, plan, run
        from u2net.encoding import encode, save_image
        from u2net.image import LIMITS, load_image
        from u2net.zoo import DEFAULT

        jobs, failures = plan(source, target, f".{format_}") if folder else ([Job(source, target)], [])
        session = new_session(model or DEFAULT, runtime=runtime, threads=threads, progress=sys.stderr.isatty())

        def make(source: Path, target: Path) -> None:
            with quiet_decoders():
                picture = load_image(sys.stdin.buffer.read(LIMITS.max_bytes + 1) if source == _PIPE else source)
            image = render(picture, session, only_mask=only_mask, post_process_mask=post_process_mask, bgcolor=color)
            if format_ == "jpg" and not only_mask:
                image = image.convert("RGB")
            if target == _PIPE:
                sys.stdout.buffer.write(encode(image, format_, picture.icc_profile))
            else:
                save_image(image, target, picture.icc_profile)

        outcomes = run(jobs, make, overwrite=overwrite or not folder)
        bar = tqdm(outcomes, total=len(jobs), unit="picture", disable=not (folder and sys.stderr.isatty()))
        finished = [*failures, *bar]
        _report(finished, folder=folder, as_json=as_json)
    if any(outcome.status == "failed" for outcome in finished):
        sys.exit(1)


def _places(input: str, output: str | None, format_: Format | None, folder: bool) -> tuple[Path, Path, Format]:  # noqa: A002
    """Source, target and format. Raises Refusal where they make no sense together."""
    from u2net.encoding import SUFFIXES

    source = Path(input)
    if source == _PIPE:
        if sys.stdin.isatty():
            raise Refusal("give a picture or a folder, or pipe a picture in")
    elif not source.exists():
        raise Refusal(f"there is no {input}")
    default_format: Format = format_ or "png"
    if folder:
        target = Path(output) if output else source.with_name(f"{source.resolve().name}.out")
        if output == "-" or target.is_file():
            raise Refusal("a folder needs a folder to go to")
        return source, target, default_format
    if output is None:
        output = "-" if source == _PIPE else str(source.with_name(f"{source.stem}.out.{default_format}"))
    target = Path(output)
    if target == _PIPE:
        if sys.stdout.isatty():
            raise Refusal("a picture is not for the terminal: give OUTPUT, or pipe it on")
        return source, target, default_format
    if target.is_dir() or output.endswith(("/", os.sep)):
        if source == _PIPE:
            raise Refusal("a picture from stdin needs a name: give OUTPUT as a file")
        target /= f"{source.stem}.{default_format}"
    named = SUFFIXES.get(target.suffix.lower())
    if named is None or named != (format_ or named):
        raise Refusal(f"{target.name} does not end in " + (f".{format_}" if format_ else ".png, .webp or .jpg"))
    if target.exists() and source != _PIPE and target.samefile(source):
        raise Refusal(f"{output} would replace the picture itself")
    return source, target, named


def _report(outcomes: list[Outcome], *, folder: bool, as_json: bool) -> None:
    """Failures on stderr; what was done on stdout, unless the picture itself goes there."""
    for outcome in outcomes:
        if outcome.status == "failed":
            click.echo(f"u2net: {outcome.source}: {outcome.reason}", err=True)
    if any(outcome.target == _PIPE for outcome in outcomes):
        return
    if as_json:
        rows = [asdict(outcome) for outcome in outcomes]
        click.echo(json.dumps({"pictures": rows}, indent=2, default=str))
    elif folder:
        counts = Counter(outcome.status for outcome in outcomes)
        click.echo(", ".join(f"{counts[status]} {status}" for status in ("done", "skipped", "failed")))
    elif outcomes[0].status == "done":
        click.echo(f"wrote {outcomes[0].target}")
