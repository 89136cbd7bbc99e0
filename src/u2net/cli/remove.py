"""`u2net remove`, with rembg's short flags. Its options are the fields of `CutoutConfig` and `FolderOptions`."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import click

from u2net.cli.failure import Refusal, one_line_errors, quiet_decoders, say, say_json
from u2net.cli.film import FilmOptions, film_target, is_film, remove_film
from u2net.cli.folder import FolderOptions, remove_by_cluster, remove_folder, remove_several
from u2net.cli.options import config_options, given_options
from u2net.cli.places import PIPE, several_sources, several_targets, source_and_target, split_names
from u2net.cli.results import as_row, is_terminal
from u2net.cutout.config import CutoutConfig
from u2net.images import FILMS

_FLAGS = {"only_mask": ("-om", "--mask", "--only-mask")}
_MATTING = {
    "alpha_matting_foreground_threshold": "-af",
    "alpha_matting_background_threshold": "-ab",
    "alpha_matting_erode_size": "-ae",
}


def _refuse_vitmatte(_context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        raise Refusal(f"{parameter.opts[0]} is not supported: --quality best or -a refine without its network")


def _refuse_deleting(_context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        raise Refusal(
            f"{parameter.opts[0]} is not supported: no picture is deleted; see OUTPUT, then delete INPUT yourself"
        )


def _model_of_extras(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The file that rembg's extras name. Raises Refusal for all else that they can hold."""
    if value is None:
        return None
    try:
        extras = json.loads(value)
    except ValueError:
        extras = None
    if not isinstance(extras, dict):
        raise Refusal("""--extras is JSON, as in '{"model_path": "mine.onnx"}'""")
    path = extras.pop("model_path", None)
    if extras:
        raise Refusal(f"--extras knows model_path, not {', '.join(extras)}: the options are listed by --help")
    if path is not None and not (isinstance(path, str) and path):
        raise Refusal("model_path in --extras is the name of a file")
    return path


def _aspect(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    width, _, height = value.partition(":")
    try:
        aspect = float(width) / float(height or 1)
    except (ValueError, ZeroDivisionError):
        aspect = 0.0
    if not 0.01 <= aspect <= 100:
        raise click.BadParameter(f"{value!r} is not width:height, such as 4:3 or 1:1")
    return aspect


def _color(_context: click.Context, _parameter: click.Parameter, value: tuple[int, ...] | None) -> str | None:
    return "#" + bytes(value).hex() if value and any(value) else None  # 0 0 0 0 is rembg's way to say none


@click.command()
@click.argument("names", nargs=-1, metavar="[INPUT]... [OUTPUT]", type=click.Path(allow_dash=True))
@click.option(
    "-o",
    "--output",
    metavar="OUTPUT",
    type=click.Path(allow_dash=True),
    help="Where to write. Give it so, with --overwrite, to replace a file that is there already.",
)
@config_options(
    CutoutConfig,
    skip={"putalpha"},
    names=_FLAGS,
    settings={
        "model": {"metavar": "NAME|FILE"},
        "crop_aspect": {"metavar": "W:H", "type": str, "callback": _aspect},
        "background": {"metavar": "WHAT"},
    },
)
@click.option(
    "-bgc",
    "--bgcolor",
    metavar="R G B A",
    nargs=4,
    type=click.IntRange(0, 255),
    callback=_color,
    help="A background colour as four numbers from 0 to 255, as in rembg.",
)
@click.option(
    "-x",
    "--extras",
    metavar="JSON",
    callback=_model_of_extras,
    help="""The model's file as rembg takes it: '{"model_path": FILE}'. The same as --model FILE.""",
)
@click.option(*("-d", "--delete_input"), is_flag=True, hidden=True, expose_value=False, callback=_refuse_deleting)
@click.option("-vm", "--vitmatte", is_flag=True, hidden=True, expose_value=False, callback=_refuse_vitmatte)
@config_options(
    FolderOptions,
    names={"as_json": ("--json",)},
    settings={"report": {"metavar": "FILE.html", "type": click.Path(dir_okay=False, path_type=Path)}},
)
@config_options(FilmOptions, settings={"start": {"metavar": "S"}, "end": {"metavar": "S"}})
def remove(names: tuple[str, ...], output: str | None, bgcolor: str | None, extras: str | None, **values: Any) -> None:
    """Cut the subject out of a picture, of several, of every picture in a folder, or of a film.

    INPUT is a file, several files, a folder, or - for stdin. OUTPUT is a file, a folder, or - for stdout. Without
    OUTPUT, photo.jpg becomes photo.out.png beside it, and a folder becomes FOLDER.out with the same sub-folders.
    A last name that is there already as a file is another INPUT: to replace that file, give it with -o.

    \b
    Examples:
      u2net remove photo.jpg
      u2net remove photo.jpg cup.webp --crop --shadow
      u2net remove *.jpg cut-outs/
      u2net remove photo.jpg -o cup.webp --overwrite
      u2net remove pictures/ cut-outs/ --background white --format jpg
      u2net remove clip.mp4 clip.webm

    With --engine ray, INPUT and OUTPUT may be addresses such as s3://bucket/folder, and INPUT Parquet files.
    """  # noqa: D301
    with one_line_errors():
        inputs, output = split_names(names, output)
        given = given_options(values)
        if extras is not None:
            given["model"] = extras
        with flags_named():
            options = FolderOptions(**{name: given.pop(name) for name in FolderOptions.names() if name in given})
            of_film = {name: given.pop(name) for name in FilmOptions.names() if name in given}
            film = FilmOptions(**of_film)
        if len(inputs) > 1:
            _refuse_what_is_for_folders(options)
            if options.engine == "ray":
                raise Refusal("--engine ray is for one folder, or one Parquet file")
            sources, into = several_sources(inputs), several_targets(output)
            if not any(source.suffix.lower() in FILMS for source in sources):
                _refuse_what_is_for_films(of_film)
            config = new_config(given, bgcolor)
            if into is None and len(sources) == 2:  # who gave the same command twice may have meant an output
                say(f"u2net: {sources[1]} is there already, so it is a second picture; -o replaces it", err=True)
            sys.exit(remove_several(sources, into, config, options, film))
        (input,) = inputs  # noqa: A001
        folder = os.path.isdir(input)  # unlike Path.is_dir, it accepts folders that may not be looked into
        if not folder and options.engine != "ray" and is_film(input, output, given.get("format")):
            _refuse_what_is_for_folders(options)
            target = film_target(Path(input), output, overwrite=options.overwrite)
            sys.exit(remove_film(Path(input), target, new_config({**given, "format": "png"}, bgcolor), options, film))
        if not folder:
            _refuse_what_is_for_films(of_film)
        source, target, format_ = Path(input), Path(output or ""), given.get("format", "png")
        if options.engine != "ray":
            places = source_and_target(input, output, given.get("format"), folder=folder, overwrite=options.overwrite)
            source, target, format_ = places
        if options.as_json and target == PIPE:
            raise Refusal("the picture and --json cannot both go to stdout")
        config = new_config({**given, "format": format_}, bgcolor)
        if options.engine == "ray":
            sys.exit(remove_by_cluster(input, output, config, options))
        if folder:
            try:
                sys.exit(remove_folder(source, target, config, options, film))
            except KeyboardInterrupt:  # a second one, which did not wait for what was begun
                sys.exit(128 + signal.SIGINT)
        _refuse_what_is_for_folders(options)
        sys.exit(_remove_one(source, target, config, options))


def _refuse_what_is_for_folders(options: FolderOptions) -> None:
    if options.workers or options.watch or options.report or options.strict:
        raise Refusal("--workers, --watch, --report and --strict are for folders")


def _refuse_what_is_for_films(given: Mapping[str, Any]) -> None:
    if given:
        raise Refusal("--start, --end and --steady are for films")


def new_config(given: dict[str, Any], bgcolor: str | None = None) -> CutoutConfig:
    """What the command line asks for. Raises Refusal where it makes no sense, OSError for a background's file."""
    if bgcolor:
        if "background" in given:
            raise Refusal("--background and --bgcolor are the same option: give one")
        given["background"] = bgcolor
    if given.get("only_mask"):
        without = {
            "background": "background",
            "shadow": "shadow",
            "decontaminate": "clean colour",
            "keep_colors": "colour",
        }
        for name, what in without.items():
            if name in given:
                raise Refusal(f"a mask has no {what}: give --mask or the other")
    for name, flag in _MATTING.items():
        if name in given and "alpha_matting" not in given:
            raise Refusal(f"{flag} is a parameter of -a: give both")
    with flags_named():
        config = CutoutConfig(**given)
        _ = config.outline, config.finish  # which know more of what makes no sense together
    return config


@contextmanager
def flags_named() -> Iterator[None]:
    """Refuse what a configuration refuses, with flags where its message names fields."""
    try:
        yield
    except ValueError as error:
        others = (*FolderOptions.names(), *FilmOptions.names())
        fields = "|".join((*(known.name for known in dataclass_fields(CutoutConfig)), *others))
        named = rf"^({fields})(?= is )|`({fields})`"
        text = re.sub(named, lambda name: f"--{(name[1] or name[2]).replace('_', '-')}", str(error))
        raise Refusal(text) from None


def _remove_one(source: Path, target: Path, config: CutoutConfig, options: FolderOptions) -> int:
    """Cut out one picture, from stdin and to stdout if need be; gives the exit code."""
    from u2net.cutout.batch.plan import Outcome
    from u2net.cutout.cutter import Cut, Cutter
    from u2net.errors import reason
    from u2net.images.formats import holds_more
    from u2net.images.limits import read_at_most
    from u2net.images.save import save_bytes

    limits = options.limits()
    piped = read_at_most(sys.stdin.buffer, limits.max_bytes) if source == PIPE else None
    with quiet_decoders():
        if piped == b"":
            cut = Cut("failed", reason="stdin was empty")
        elif piped and holds_more(piped):
            cut = Cut("failed", reason="stdin holds several pictures one after another: pipe one at a time")
        else:
            cut = Cutter(config, limits, progress=is_terminal())(piped or source, is_last=True)
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
        say(f"u2net: {source}: {cut.reason}", err=True)
    if options.as_json:
        outcome = Outcome(source, target, cut.status, cut.reason, cut.confidence)
        say_json(json.dumps({"pictures": [as_row(outcome)]}, indent=2))
    elif cut.status == "done" and target != PIPE:
        say(f"wrote {target}")
    return 1 if cut.status == "failed" else 0
