"""Pictures in and out: bytes, paths, PIL images and arrays become one upright picture, and a picture becomes a file."""

from typing import Literal

Format = Literal["png", "webp", "jpg", "avif", "tiff"]
"""What a picture can be written as."""

FILMS = (
    *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv"),
    *(".ts", ".vob", ".webm", ".wmv"),
)
"""Suffixes of films."""

ANIMATED = (".gif", ".webp", ".png", ".apng")
"""Suffixes of pictures that may have several frames."""
