"""rembg's module `rembg.bg`: `remove` by the name that it has there."""

from u2net.cutout.remove import remove

__all__ = ["remove"]
