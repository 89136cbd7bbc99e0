"""The page: what browsers get, with a service behind it or without one, and no build.

`engine/` holds the arithmetic, which the package for npm has too; `shared/` what both pages have; `service/` and
`alone/` what one of them has.
"""

from pathlib import Path
from typing import Literal

_ROOT = Path(__file__).parent


def page_files(kind: Literal["service", "alone"]) -> dict[str, Path]:
    """The files of a page by their addresses, as in "main.js" and "engine/guided.js"."""
    found = {path.name: path for folder in ("shared", kind) for path in (_ROOT / folder).iterdir()}
    found |= {f"engine/{path.name}": path for path in (_ROOT / "engine").iterdir()}
    return dict(sorted(found.items()))
