"""`u2net remove`, with rembg's short flags."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from u2net.cli.appearance import Appearance, appearance_options
from u2net.cli.cluster import remove_by_cluster
from u2net.cli.failure import Refusal, one_line_errors, printable, quiet_decoders
from u2net.cli.folder import FolderOptions, as_row, is_terminal, remove_folder
from u2net.cli.places import PIPE, source_and_target

if TYPE_CHECKING:
    from u2net.cutout.cutter import CutoutConfig
    from u2net.images.save import Format


@click.command()
@click.argument("input", default="-", metavar="[INPUT]", type=click.Path(allow_dash=True))
@click.argument("output", required=False, type=click.Path(allow_dash=True))
@click.option("-m", "--model", metavar="NAME|FILE", help="A model's name or file.  [default: u2netp_tuned]")
@appearance_options
@click.option(
    "--on-empty",
    type=click.Choice(["keep", "skip", "fail"]),
    default="keep",
    show_default=True,
    help="What to do where the network is all but sure that there is no subject.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["png", "webp", "jpg", "avif", "tiff"]),
    help="[default: as OUTPUT ends, or png]",
)
@click.option(
    "--bit-depth",
    type=click.Choice(["8", "16"]),
    default="8",
    show_default=True,
    help="Bits per channel: 16 for tiff, with the colours of a TIFF of 16 bits as they are.",
)
@click.option(
    "--png-level",
    type=click.IntRange(1, 9),
    default=1,
    show_default=True,
    help="From 6 up files are smaller by a few hundredths, and take several times as long.",
)
@click.option(
    "--lossy-quality",
    type=click.IntRange(1, 100),
    help="Of colours in WebP, JPEG and AVIF.  [default: 90, 92, 80]",
)
@click.option(
    "--alpha-quality", type=click.IntRange(0, 100), help="Of WebP's transparency.  [default: 100, which is exact]"
)
@click.option(
    "--exif",
    type=click.Choice(["strip", "keep", "all"]),
    default="strip",
    show_default=True,
    help="What the camera noted: keep leaves out where it was, all does not.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
@click.option(
    "--engine",
    type=click.Choice(["pool", "ray"]),
    default="pool",
    show_default=True,
    help="Who does a folder: this machine's processes, or the Ray cluster at RAY_ADDRESS.",
)
@click.option(
    "--workers", type=click.IntRange(1, 1024), help="Processes for a folder.  [default: as the machine bears]"
)
@click.option("--watch", is_flag=True, help="Go on for ever with what is put into the folder; Ctrl-C ends it.")
@click.option("--report", type=click.Path(dir_okay=False), metavar="FILE.html", help="What of a folder wants a look.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a picture of a folder failed.")
@click.option("--runtime", type=click.Choice(["auto", "onnxruntime", "openvino"]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "int8"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads of the runtime.  [default: its own choice]")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on stdout.")
def remove(
    input: str,  # noqa: A002
    output: str | None,
    model: str | None,
    on_empty: Literal["keep", "skip", "fail"],
    format_: Format | None,
    bit_depth: Literal["8", "16"],
    png_level: int,
    lossy_quality: int | None,
    alpha_quality: int | None,
    exif: Literal["strip", "keep", "all"],
    overwrite: bool,
    engine: Literal["pool", "ray"],
    workers: int | None,
    watch: bool,
    report: str | None,
    strict: bool,
    runtime: Literal["auto", "onnxruntime", "openvino"],
    precision: Literal["auto", "fp32", "bf16", "int8"],
    threads: int | None,
    as_json: bool,
    **appearance: Any,
) -> None:
    """Cut the subject out of a picture, or out of every picture in a folder.

    INPUT is a file, a folder, or - for stdin. OUTPUT is a file, a folder, or - for stdout; without it a.jpg becomes
    a.out.png beside it, and a folder becomes FOLDER.out. A folder's sub-folders are kept; no picture is lost by
    another's name. With --engine ray, INPUT and OUTPUT may be URIs such as s3://bucket/folder, and INPUT Parquet files.
    """
    with one_line_errors():
        asked = Appearance(**appearance)
        folder = os.path.isdir(input)  # unlike Path.is_dir, it bears folders that may not be looked into
        if engine == "ray":
            source, target, format_ = Path(input), Path(output or ""), format_ or "png"
        else:
            source, target, format_ = source_and_target(input, output, format_, folder=folder, overwrite=overwrite)
        if as_json and target == PIPE:
            raise Refusal("the picture and --json cannot both go to stdout")

        from u2net.cutout.cutter import CutoutConfig
        from u2net.images.save import LOSSY
        from u2net.models.zoo import DEFAULT

        if lossy_quality is not None and format_ not in LOSSY:
            raise Refusal(f"{format_} is exact: --lossy-quality is for {', '.join(LOSSY)}")
        if alpha_quality is not None and format_ != "webp":
            raise Refusal("--alpha-quality is for webp")
        outline, finish = asked.outline(), asked.finish(format_)
        try:
            config = CutoutConfig(
                model=DEFAULT if model is None else model,
                runtime=runtime,
                precision=precision,
                threads=threads,
                outline=outline,
                finish=finish,
                format=format_,
                bit_depth=16 if bit_depth == "16" else 8,
                png_level=png_level,
                lossy_quality=lossy_quality,
                alpha_quality=alpha_quality,
                exif=exif,
                on_empty=on_empty,
            )
        except ValueError as error:
            raise Refusal(str(error)) from None
        if folder or engine == "ray":
            html = None if report is None else Path(report)
            options = FolderOptions(overwrite, workers, watch, strict, html, as_json)
            if engine == "ray":
                sys.exit(remove_by_cluster(input, output, config, options))
            try:
                sys.exit(remove_folder(source, target, config, options))
            except KeyboardInterrupt:  # a second one, which did not wait for what was begun
                sys.exit(128 + signal.SIGINT)
        if workers or watch or report or strict:
            raise Refusal("--workers, --watch, --report and --strict are for folders")
        sys.exit(_remove_one(source, target, config, as_json=as_json))


def _remove_one(source: Path, target: Path, config: CutoutConfig, *, as_json: bool) -> int:
    """Cut out one picture, from stdin and to stdout if need be; gives the exit code."""
    from u2net.cutout.batch.plan import Outcome
    from u2net.cutout.cutter import Cut, Cutter
    from u2net.errors import reason
    from u2net.images.load import LIMITS, LIMITS_16_BITS
    from u2net.images.save import save_bytes

    limits = LIMITS_16_BITS if config.bit_depth == 16 else LIMITS
    piped = sys.stdin.buffer.read(limits.max_bytes + 1) if source == PIPE else None
    with quiet_decoders():
        if piped == b"":
            cut = Cut("failed", reason="nothing was received")
        else:
            cut = Cutter(config, progress=is_terminal())(piped or source, is_last=True)
        if target == PIPE:
            with open(1, "wb", closefd=False) as stdout:  # sys.stdout may be unbuffered, and then writes in part
                stdout.write(cut.content)
        elif cut.status == "done":
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                save_bytes(cut.content, target)
            except OSError as error:
                cut = Cut("failed", reason=f"{reason(error)}: {error.filename or target}")
    if cut.status != "done":
        click.echo(f"u2net: {printable(source)}: {printable(cut.reason)}", err=True)
    if as_json:
        outcome = Outcome(source, target, cut.status, cut.reason, cut.confidence)
        click.echo(json.dumps({"pictures": [as_row(outcome)]}, indent=2))
    elif cut.status == "done" and target != PIPE:
        click.echo(f"wrote {printable(target)}")
    return 1 if cut.status == "failed" else 0
