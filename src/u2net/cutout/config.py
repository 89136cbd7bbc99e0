"""What can be asked of a cut-out, described once: the command's flags and the service's fields are made from it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from u2net.config import check_fields, option
from u2net.images import Format
from u2net.inference.runtimes import Precision, Runtime
from u2net.models import DEFAULT

if TYPE_CHECKING:
    from u2net.cutout.finish import Finish
    from u2net.cutout.outline import Outline

Quality = Literal["coarse", "fast", "balanced", "best"]
"""The network's mask enlarged; by a guided filter; by closed-form matting; the same on the mean of two looks."""


@dataclass(frozen=True)
class CutoutConfig:
    """What is made of a picture, and by which model. Raises ValueError for what makes no sense together.

    May be pickled. The command's flags are made from the fields, with the text below each as help.
    """

    model: str = option(DEFAULT, short="m")
    """The model: a name (see `u2net models list`) or a file."""

    quality: Quality | None = option(None)
    """How exact the outline is: coarse is the fastest, best takes the longest.  [default: fast]"""
    looks: int | None = option(None, 1, 3)
    """How often the network looks at the picture: 2 adds its mirror image, 3 the picture upside down. More looks are
    more exact and take more time.  [default: 2 for best, else 1]"""
    only_mask: bool = option(False, short="om")
    """Write the mask instead of the cut-out: white where the subject is, black elsewhere."""
    post_process_mask: bool = option(False, short="ppm")
    """Make every pixel fully visible or fully transparent, with a smooth outline."""
    alpha_matting: bool = option(False, short="a")
    """Find the outline as rembg's alpha matting does, in place of the quality. This takes seconds."""
    alpha_matting_foreground_threshold: int = option(240, 0, 255, short="af")
    """For alpha matting: where the mask is above this, the subject is certain."""
    alpha_matting_background_threshold: int = option(10, 0, 255, short="ab")
    """For alpha matting: where the mask is below this, the background is certain."""
    alpha_matting_erode_size: int = option(10, 0, 1000, short="ae")
    """For alpha matting: a pixel is certain only if all pixels in a square of this width around it are."""
    keep_colors: bool = option(False)
    """Keep the colours of soft edges as they are in the picture. Without it the old background is taken out of them."""
    decontaminate: bool = option(False, short="dc")
    """Take the old background's colour out of soft edges with the quality coarse too. All others do it unasked."""
    putalpha: bool = option(False)
    """Keep the colours of transparent pixels. Without it they are erased from the file."""
    keep_largest: int | None = option(None, 1)
    """Keep only the N largest parts of the subject."""
    invert: bool = option(False)
    """Remove the subject and keep the background."""
    crop: bool = option(False)
    """Crop to the subject."""
    crop_margin: float | None = option(None, 0, 10)
    """Crop, and leave this much space around the subject, as a share of its longer side, for example 0.05."""
    crop_aspect: float | None = option(None)
    """Crop to this ratio of width to height, for example 1:1 or 4:3."""
    shadow: bool = option(False)
    """Add a soft shadow below the subject."""
    background: str | None = option(None)
    """Put the cut-out on a colour (white, #rrggbb), a gradient (white..navy), blur, or a picture file."""

    on_empty: Literal["keep", "skip", "fail"] = option("keep")
    """What to do with a picture that very probably shows no subject: cut out anyway, leave out, or fail."""
    format: Format = option("png")
    """The file format of the result.  [default: from the name of OUTPUT, or png]"""
    bit_depth: Literal[8, 16] = option(8)
    """Bits per channel. 16 is for tiff, and keeps all levels of a 16-bit TIFF."""
    png_level: int = option(1, 1, 9)
    """PNG compression. From 6 on, files are a few per cent smaller and take several times as long."""
    lossy_quality: int | None = option(None, 1, 100)
    """Quality of the colours in WebP, JPEG and AVIF.  [default: 90, 92, 80]"""
    alpha_quality: int | None = option(None, 0, 100)
    """Quality of the transparency in WebP.  [default: 100, which is exact]"""
    exif: Literal["strip", "keep", "all"] = option("strip")
    """The camera's data: leave it out, keep it without the place, or keep all of it."""

    runtime: Runtime = option("auto")
    """What runs the model. auto takes OpenVINO if it is installed, else ONNX Runtime."""
    precision: Precision = option("auto")
    """The numbers that the model computes in. auto takes the fastest that is safe here."""
    threads: int | None = option(None, 1, 1024)
    """Threads for the model.  [default: the runtime chooses]"""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.bit_depth == 16 and self.format != "tiff":
            raise ValueError(f"16 bits per channel are written as tiff, not as {self.format}")
        if self.crop_aspect is not None and not 0.01 <= self.crop_aspect <= 100:
            raise ValueError(f"crop_aspect is 1:100 to 100:1, got {self.crop_aspect}")
        if self.invert and self.shadow:
            raise ValueError("what surrounds the subject has no shadow: give `invert` or `shadow`")
        if self.keep_colors and self.decontaminate:
            raise ValueError("colours are kept or cleaned: give `keep_colors` or `decontaminate`")
        if self.lossy_quality is not None and self.format not in ("webp", "jpg", "avif"):
            raise ValueError(f"{self.format} is exact: `lossy_quality` is for webp, jpg, avif")
        if self.alpha_quality is not None and self.format != "webp":
            raise ValueError("`alpha_quality` is for webp")

    @cached_property
    def outline(self) -> Outline:
        """How the alpha is found. Raises ValueError for a quality beside alpha matting."""
        from u2net.cutout.outline import Matting, Outline

        matting = Matting(
            self.alpha_matting_foreground_threshold,
            self.alpha_matting_background_threshold,
            self.alpha_matting_erode_size,
        )
        return Outline(self.quality, self.looks, matting if self.alpha_matting else None, hard=self.post_process_mask)

    @cached_property
    def finish(self) -> Finish:
        """What is made of picture and alpha. JPEG, which has no transparency, gets a white background.

        Raises ValueError for a background that is none, or that JPEG cannot hold, and OSError for a file that cannot
        be read.
        """
        from u2net.cutout.background import is_opaque, read_background
        from u2net.cutout.finish import Crop, Finish

        background = self.background or ("white" if self.format == "jpg" else None)
        behind = read_background(background) if background and not self.only_mask else None
        if self.format == "jpg" and behind is not None and not is_opaque(behind):
            raise ValueError("JPEG has no transparency: give an opaque background, or the format png or webp")
        is_cropped = self.crop or self.crop_margin is not None or self.crop_aspect is not None
        return Finish(
            parts=self.keep_largest,
            inverted=self.invert,
            crop=Crop(self.crop_margin or 0.0, self.crop_aspect) if is_cropped else None,
            only_mask=self.only_mask,
            clean=self._cleans_colors,
            keep_hidden=self.putalpha,
            shadow=self.shadow,
            background=behind,
        )

    @property
    def _cleans_colors(self) -> bool:
        if self.keep_colors:
            return False
        # rembg's alpha matting cleans colours even where hidden ones are kept.
        return self.alpha_matting or ((self.decontaminate or self.quality != "coarse") and not self.putalpha)

    def asked(self) -> dict[str, Any]:
        """Everything that decides what files hold, as values of JSON; a picture behind is its digest.

        Threads are left out: with more of them the same is made.
        """
        from u2net.cutout.background import digest

        asked = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "threads"}
        return asked | {"background": digest(self.finish.background) or self.background}
