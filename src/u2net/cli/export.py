"""`u2net export`."""

from __future__ import annotations

from pathlib import Path

import click

from u2net.cli.failure import Refusal, one_line_errors, say
from u2net.cli.options import check_free, exists_already, overwrite_option


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--size",
    type=click.IntRange(1, 8192),
    nargs=2,
    metavar="W H",
    help="Write a plain graph for one picture of this size, which OpenCV and other engines open too.",
)
@click.option(
    "--opset",
    type=click.IntRange(13, 21),
    metavar="N",
    help="For --size and --with-preprocessing: the version of ONNX's operations, 13 to 21.  [default: 13]",
)
@click.option(
    "--with-preprocessing",
    is_flag=True,
    help="Take pictures of any size as they are, uint8 (1, H, W, 3), and give masks of that size, uint8 (1, H, W).",
)
@click.option("--all-outputs", is_flag=True, help="Put out the six side maps too.")
@click.option("--half", is_flag=True, help="Keep weights in 16 bits: half the file, computed in float32 as before.")
@click.option("--int8", is_flag=True, help="Write the network in integers too, as NAME-int8.onnx beside OUTPUT.")
@click.option(
    "--calibration",
    type=click.Path(exists=True, path_type=Path),
    help="Folder of pictures like those to come, for --int8; 32 of them are used.",
)
@click.option("--name", help="Name on the card.  [default: the checkpoint's]")
@click.option("--licence", help="Licence of the weights, as an SPDX identifier.")
@click.option("--source", help="Where the weights come from.")
@overwrite_option
def export(
    checkpoint: Path,
    output: Path,
    size: tuple[int, int] | None,
    opset: int | None,
    with_preprocessing: bool,
    all_outputs: bool,
    half: bool,
    int8: bool,
    calibration: Path | None,
    name: str | None,
    licence: str | None,
    source: str | None,
    overwrite: bool,
) -> None:
    """Turn weights (.pth, .safetensors, .onnx) into OUTPUT, in the form that its suffix names.

    That is an .onnx file for any size, our .safetensors, or for other engines and one size: .xml (OpenVINO), .tflite
    (LiteRT), .param (ncnn) or .mlpackage (Core ML), with the card as OUTPUT.json beside it. With --size, an .onnx file
    is a plain graph for that size alone. Files are compared with torch before they appear. Needs the extra torch.
    """
    from u2net.engines import ENGINES, files_of

    if output.suffix not in (".onnx", ".safetensors", *ENGINES):
        known = f".onnx, .safetensors, {', '.join(ENGINES)}"
        raise Refusal(f"OUTPUT ends in one of {known}, not {output.suffix or 'nothing'}")
    if (with_preprocessing or all_outputs or half or int8) and output.suffix != ".onnx":
        raise Refusal("--with-preprocessing, --all-outputs, --half and --int8 are for .onnx")
    if size and output.suffix == ".safetensors":
        raise Refusal("--size is not for .safetensors, which is for any size")
    if opset is not None and not (output.suffix == ".onnx" and (size or with_preprocessing)):
        raise Refusal("--opset is for .onnx with --size: a graph for any size is always of the same opset")
    if output.is_dir() and not (output.suffix == ".mlpackage" and (output / "Manifest.json").exists()):
        raise Refusal(f"{output} is a folder")
    if with_preprocessing and (all_outputs or int8):
        raise Refusal("--with-preprocessing makes one mask in float32, without --all-outputs and --int8")
    if int8 != (calibration is not None):
        raise Refusal("--int8 needs --calibration, a folder of pictures, and is what needs it")
    with one_line_errors():
        from dataclasses import replace

        from u2net.models.zoo import integers_beside
        from u2net.net import export_onnx, load_checkpoint, save_checkpoint

        if output.exists() and output.samefile(checkpoint):
            raise Refusal("OUTPUT would replace the weights themselves")
        files = files_of(output) if output.suffix in ENGINES else [output, *([integers_beside(output)] if int8 else [])]
        check_free(*files, overwrite=overwrite)
        if output.is_dir() and not overwrite:
            raise Refusal(exists_already(output))
        network, card = load_checkpoint(checkpoint)
        card = replace(card, name=name or card.name, licence=licence or card.licence, source=source or card.source)
        if size:
            card = replace(card, transform=replace(card.transform, size=size))
        if output.suffix == ".onnx":
            export_onnx(
                network,
                output,
                card,
                all_outputs=all_outputs,
                half=half,
                static=size is not None,
                opset=opset,
                preprocessing=with_preprocessing,
            )
        elif output.suffix == ".safetensors":
            save_checkpoint(network, output, card)
        else:
            from u2net.engines.export import export_engine

            written = export_engine(network, output, card)
            engine = ENGINES[output.suffix].name
            if written.difference is None:
                compared = f"its structure was checked; {engine} does not run here"
            else:
                compared = f"{engine}'s maps of noise differ from torch's by {255 * written.difference:.3f} grey levels"
            say(f"wrote {output}: {written.num_bytes:,} bytes; {compared}")
            return
        say(f"wrote {output}: {output.stat().st_size:,} bytes")
        if calibration is not None:
            from u2net.evaluation.dataset import list_sources, spread
            from u2net.net.quantise import NUM_PICTURES, export_int8

            beside = integers_beside(output)
            chosen = spread(list_sources(calibration), NUM_PICTURES)
            difference, num_float = export_int8(network, beside, card, (source.read() for source in chosen))
            say(
                f"wrote {beside}: {beside.stat().st_size:,} bytes; on {len(chosen)} pictures its maps differ from "
                f"float32 by {255 * difference:.1f} grey levels on average; {num_float} convolutions stay in float32"
            )
