"""Pictures in and out: bytes, paths, PIL images and arrays become one upright picture, and a picture becomes a file."""

from typing import Literal

Format = Literal["png", "webp", "jpg", "avif", "tiff"]
"""What a picture can be written as."""
