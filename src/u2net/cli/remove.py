"""`u2net remove`, with rembg's short flags."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from u2net.cli.appearance import Appearance, appearance_options
from u2net.cli.failure import Refusal, one_line_errors, printable, quiet_decoders
from u2net.cli.places import PIPE, source_and_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from u2net.batch import Outcome
    from u2net.encoding import Format


@click.command()
@click.argument("input", default="-", metavar="[INPUT]", type=click.Path(allow_dash=True))
@click.argument("output", required=False, type=click.Path(allow_dash=True))
@click.option("-m", "--model", metavar="NAME|FILE", help="A model's name or file.  [default: u2netp]")
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
    png_level: int,
    lossy_quality: int | None,
    alpha_quality: int | None,
    exif: Literal["strip", "keep", "all"],
    overwrite: bool,
    runtime: Literal["auto", "onnxruntime", "openvino"],
    precision: Literal["auto", "fp32", "bf16", "int8"],
    threads: int | None,
    as_json: bool,
    **appearance: Any,
) -> None:
    """Cut the subject out of a picture, or out of every picture in a folder.

    INPUT is a file, a folder, or - for stdin. OUTPUT is a file, a folder, or - for stdout; without it a.jpg becomes
    a.out.png beside it, and a folder becomes FOLDER.out. A folder's sub-folders are kept; no picture is lost by
    another's name.
    """
    with one_line_errors():
        asked = Appearance(**appearance)
        folder = os.path.isdir(input)  # unlike Path.is_dir, it bears folders that may not be looked into
        source, target, format_ = source_and_target(input, output, format_, folder=folder, overwrite=overwrite)
        if as_json and target == PIPE:
            raise Refusal("the picture and --json cannot both go to stdout")

        from u2net.batch import CutoutConfig, Cutter, Job, plan
        from u2net.batch.run import run
        from u2net.encoding import LOSSY, save_bytes
        from u2net.errors import InvalidImage, NoSubject
        from u2net.image import LIMITS
        from u2net.zoo import DEFAULT

        if lossy_quality is not None and format_ not in LOSSY:
            raise Refusal(f"{format_} is exact: --lossy-quality is for {', '.join(LOSSY)}")
        if alpha_quality is not None and format_ != "webp":
            raise Refusal("--alpha-quality is for webp")
        config = CutoutConfig(
            model=DEFAULT if model is None else model,
            runtime=runtime,
            precision=precision,
            threads=threads,
            outline=asked.outline(),
            finish=asked.finish(format_),
            format=format_,
            png_level=png_level,
            lossy_quality=lossy_quality,
            alpha_quality=alpha_quality,
            exif=exif,
            on_empty=on_empty,
        )
        jobs, failures = plan(source, target, f".{format_}") if folder else ([Job(source, target)], [])
        terminal = sys.stderr is not None and sys.stderr.isatty()
        cutter = Cutter(config, progress=terminal)

        # Here, for nothing interrupts a thread that waits for more.
        piped = sys.stdin.buffer.read(LIMITS.max_bytes + 1) if source == PIPE else None

        def make(source: Path, target: Path) -> float | None:
            if piped == b"":
                raise InvalidImage("nothing was received")
            cut = cutter(piped or source, is_last=not folder)
            if cut.status != "done":
                raise InvalidImage(cut.reason) if cut.confidence is None else NoSubject(cut.confidence)
            if target == PIPE:
                with open(1, "wb", closefd=False) as stdout:  # sys.stdout may be unbuffered, and then writes in part
                    stdout.write(cut.content)
            else:
                save_bytes(cut.content, target)
            return cut.confidence

        with quiet_decoders():
            if folder and jobs:
                cutter.open()
            finished: list[Outcome] = []
            done = run(
                jobs,
                make,
                overwrite=overwrite or not folder,
                workers=2 if folder else 1,
                empty="skipped" if on_empty == "skip" else "failed",
            )
            outcomes: Iterable[Outcome] = chain(failures, done)
            tell: Callable[[str], None] = partial(click.echo, err=True)
            if folder:
                from tqdm import tqdm

                num = len(failures) + len(jobs)
                outcomes = tqdm(outcomes, total=num, unit="picture", disable=not terminal)
                tell = partial(tqdm.write, file=sys.stderr)
            try:
                for outcome in outcomes:
                    finished.append(outcome)
                    if outcome.status == "failed" or (outcome.status == "skipped" and not folder):
                        tell(f"u2net: {printable(outcome.source)}: {printable(outcome.reason)}")
            finally:
                _report(finished, folder=folder, as_json=as_json)
    if any(outcome.status == "failed" for outcome in finished):
        sys.exit(1)


def _report(outcomes: list[Outcome], *, folder: bool, as_json: bool) -> None:
    """What was done, on stdout, unless the picture itself goes there."""
    if as_json:
        rows = [asdict(outcome) for outcome in outcomes]
        for row in rows:
            row["confidence"] = None if row["confidence"] is None else round(row["confidence"], 4)
        click.echo(json.dumps({"pictures": rows}, indent=2, default=str))
    elif folder:
        counts = Counter(outcome.status for outcome in outcomes)
        click.echo(", ".join(f"{counts[status]} {status}" for status in ("done", "skipped", "failed")))
    elif outcomes and outcomes[0].status == "done" and outcomes[0].target != PIPE:
        click.echo(f"wrote {printable(outcomes[0].target)}")
