"""`u2net export`."""

from __future__ import annotations

from pathlib import Path

import click

from u2net.cli.failure import Refusal, one_line_errors


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--all-outputs", is_flag=True, help="Put out the six side maps too.")
@click.option("--name", help="Name on the card.  [default: the checkpoint's]")
@click.option("--licence", help="Licence of the weights, as an SPDX identifier.")
@click.option("--source", help="Where the weights come from.")
def export(
    checkpoint: Path, output: Path, all_outputs: bool, name: str | None, licence: str | None, source: str | None
) -> None:
    """Turn weights (.pth, .safetensors, .onnx) into OUTPUT: an .onnx file for any size, or our .safetensors.

    The card travels along. An ONNX file is compared with torch before it appears. Needs the extra torch.
    """
    if output.suffix not in (".onnx", ".safetensors"):
        raise Refusal(f"OUTPUT ends in .onnx or .safetensors, not {output.suffix or 'nothing'}")
    if all_outputs and output.suffix != ".onnx":
        raise Refusal("--all-outputs is for .onnx")
    with one_line_errors():
        from dataclasses import replace

        from u2net.net import export_onnx, load_checkpoint, save_checkpoint

        network, card = load_checkpoint(checkpoint)
        card = replace(card, name=name or card.name, licence=licence or card.licence, source=source or card.source)
        if output.suffix == ".onnx":
            export_onnx(network, output, card, all_outputs=all_outputs)
        else:
            save_checkpoint(network, output, card)
    click.echo(f"wrote {output}: {output.stat().st_size:,} bytes")
