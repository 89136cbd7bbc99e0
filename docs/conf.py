"""Sphinx's settings for `make docs`.

The site is made of the repository's Markdown files, so that links between them and to other files lead somewhere.
docs/README.md is its table of contents.
"""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

from u2net import __version__ as release

ROOT = Path(__file__).parent.parent

project = html_title = "u2net"
version = release
root_doc = "README"
include_patterns = [
    "*.md",
    "docs/**.md",
    "docs/**.rst",
    "benchmarks/results/*.md",
    "experiments/**.md",
    "web/README.md",
]
exclude_patterns = [".*", "build", "deploy", "out", "runs", "src", "tests", "tools"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 4
suppress_warnings = ["toc.not_included"]  # what pages link to, but the contents do not list: measurements, credits
highlight_language = "sh"

autodoc_mock_imports = ["matplotlib", "onnx", "safetensors", "tensorboard", "torch"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("Backend", "ImageData", "Levels", "NDArray", "Quality")}  # as written
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
default_role = "py:obj"  # in docstrings: `name` is code, and a link where the reference has it

html_theme = "furo"
html_show_copyright = False


def setup(app: Sphinx) -> None:
    """Connect what is below."""
    app.connect("source-read", complete)
    app.connect("autodoc-process-signature", shorten)
    app.connect("build-finished", add_index)


def complete(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Give the first page the table of contents, and tables of measurements their names as headings."""
    if docname == root_doc:
        source[0] += "".join(contents())
    elif "/results/" in docname:
        source[0] = f"# Measured: {Path(docname).name}\n\n{source[0]}"


def contents() -> list[str]:
    """A toctree for each heading of docs/README.md, of the pages that are linked below it."""
    _, *sections = (ROOT / "docs/README.md").read_text(encoding="utf-8").split("\n## ")
    return [
        f"\n```{{toctree}}\n:hidden:\n:caption: {section.splitlines()[0]}\n\n"
        + "".join(f"docs/{page}\n" for page in re.findall(r"^- \[.*?\]\((.*?)\)", section, re.MULTILINE))
        + "```\n"
        for section in sections
    ]


def shorten(*of: object) -> tuple[str | None, str | None]:
    """Write a default that is made anew each time as Python could read it: else Sphinx breaks lines anywhere."""
    *_, signature, returned = of
    return signature and str(signature).replace("<factory>", "..."), returned and str(returned)


def add_index(app: Sphinx, error: Exception | None) -> None:
    """Web servers look for index.html."""
    if error is None:
        shutil.copyfile(app.outdir / "README.html", app.outdir / "index.html")
