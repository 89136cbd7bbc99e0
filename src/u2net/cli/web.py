"""`u2net web`."""

from __future__ import annotations

from pathlib import Path

import click

from u2net.cli.failure import Refusal, one_line_errors, say
from u2net.models import DEFAULT


@click.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path), metavar="OUT")
@click.option("-m", "--model", default=DEFAULT, show_default=True, help="The model: a name or a file.")
@click.option(
    "--runtime",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where onnxruntime-web is, for example node_modules/onnxruntime-web. Without this option npm gets it.",
)
@click.option("--overwrite", is_flag=True, help="Replace the page that is in OUT.")
def web(output: Path, model: str, runtime: Path | None, overwrite: bool) -> None:
    """Write the page that cuts pictures out in the browser, without a service, into the folder OUT.

    Any host of static files can serve it, for example `python -m http.server --directory OUT`. The model and the
    runtime are inside. No picture leaves the browser, and once it was opened the page works offline.
    """
    with one_line_errors():
        from u2net.models.onnx_file import OnnxFile
        from u2net.models.transform import AUTHORS
        from u2net.models.zoo import resolve, row_of
        from u2net.page.runtime import VERSION, from_folder, from_npm
        from u2net.page.site import is_site, write_site

        output = output.absolute()
        if output.exists() and not is_site(output):
            raise Refusal(f"{output} holds what is no page of u2net's: name another folder")
        if output.exists() and any(output.iterdir()) and not overwrite:
            raise Refusal(f"{output} exists already: --overwrite replaces it")
        if not output.parent.is_dir():
            raise Refusal(f"there is no folder {output.parent}")
        path = resolve(model, progress=True)
        file = OnnxFile.read(path)
        row = row_of(model, file)
        if file.card(row.card if row else None).transform != AUTHORS and not file.has_card:
            raise Refusal(f"{path.name} does not say how it is fed, so the page could not know")
        if runtime is None:
            say(f"npm gets onnxruntime-web {VERSION} (some 30 MB, for this page alone)")
            files = from_npm()
        else:
            try:
                files = from_folder(runtime)
            except ValueError as error:
                raise Refusal(str(error)) from None
        num_bytes = write_site(output, path.read_bytes(), files)
        say(f"wrote {output}: {num_bytes / 1e6:.1f} MB in all; serve it with any host of static files")
