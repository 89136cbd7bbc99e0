"""What `u2net remove` is asked to make of a picture: its options, and what they mean together."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from u2net.cli.failure import Refusal

if TYPE_CHECKING:
    from u2net.cutout.compose import Backdrop
    from u2net.cutout.finish import Finish
    from u2net.cutout.outline import Outline, Quality
    from u2net.images.save import Format

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Color = tuple[int, int, int, int]

_BLUR = "blur"
_TO = ".."  # between the colours of a gradient


def _refuse_vitmatte(_context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        raise Refusal(f"{parameter.opts[0]} is not supported: --quality best or -a refine without its network")


def _rembg_color(_context: click.Context, _parameter: click.Parameter, value: Color | None) -> Color | None:
    return value if value and any(value) else None  # 0 0 0 0 is rembg's way to say none


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


_OPTIONS = (
    click.option(
        "--quality",
        type=click.Choice(["coarse", "fast", "balanced", "best"]),
        help="How the outline is decided.  [default: fast]",
    ),
    click.option("-om", "--mask", "--only-mask", "only_mask", is_flag=True, help="Write the mask, not the cut-out."),
    click.option("-ppm", "--post-process-mask", is_flag=True, help="Make the mask hard, with smooth outlines."),
    click.option("-a", "--alpha-matting", is_flag=True, help="Decide the outline in rembg's way: slow."),
    click.option(
        "-af",
        "--alpha-matting-foreground-threshold",
        type=click.IntRange(0, 255),
        metavar="N",
        help="Above this the mask is sure of the subject.  [default: 240]",
    ),
    click.option(
        "-ab",
        "--alpha-matting-background-threshold",
        type=click.IntRange(0, 255),
        metavar="N",
        help="Below this it is sure of the background.  [default: 10]",
    ),
    click.option(
        "-ae",
        "--alpha-matting-erode-size",
        type=click.IntRange(0, 1000),
        metavar="N",
        help="In a square of so many pixels.  [default: 10]",
    ),
    click.option("-dc", "--decontaminate", is_flag=True, help="Take the old background out of soft outlines' colours."),
    click.option("--keep-largest", type=click.IntRange(1), metavar="N", help="Keep only the N largest parts."),
    click.option("--invert", is_flag=True, help="Cut the subject away, and keep what surrounds it."),
    click.option("--crop", is_flag=True, help="Crop to the subject."),
    click.option(
        "--crop-margin",
        type=click.FloatRange(0, 10),
        metavar="PART",
        help="Crop, and leave so much of the subject's longer side free around it, e.g. 0.05.",
    ),
    click.option("--crop-aspect", metavar="W:H", callback=_aspect, help="Crop, and widen to this aspect, e.g. 1:1."),
    click.option("--shadow", is_flag=True, help="Lay a soft shadow where the subject stands."),
    click.option(
        "--background",
        metavar="WHAT",
        help="Put the cut-out over a colour (white, #rrggbb), a gradient (white..navy), blur, or a picture's file.",
    ),
    click.option(
        "-bgc",
        "--bgcolor",
        metavar="R G B A",
        nargs=4,
        type=click.IntRange(0, 255),
        callback=_rembg_color,
        help="A background colour as four numbers from 0 to 255.",
    ),
    click.option("-vm", "--vitmatte", is_flag=True, hidden=True, expose_value=False, callback=_refuse_vitmatte),
)


def appearance_options(command: Decorated) -> Decorated:
    """Add the options whose values are the fields of `Appearance`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Appearance:
    """The values of `appearance_options`. Raises Refusal where they make no sense together."""

    quality: Quality | None
    only_mask: bool
    post_process_mask: bool
    alpha_matting: bool
    alpha_matting_foreground_threshold: int | None
    alpha_matting_background_threshold: int | None
    alpha_matting_erode_size: int | None
    decontaminate: bool
    keep_largest: int | None
    invert: bool
    crop: bool
    crop_margin: float | None
    crop_aspect: float | None
    shadow: bool
    background: str | None
    bgcolor: Color | None

    def __post_init__(self) -> None:
        if self.background and self.bgcolor:
            raise Refusal("--background and --bgcolor are the same option: give one")
        for name, given in (
            ("background", self.background or self.bgcolor),
            ("shadow", self.shadow),
            ("clean colour", self.decontaminate),
        ):
            if given and self.only_mask:
                raise Refusal(f"a mask has no {name}: give --mask or the other")
        if self.invert and self.shadow:
            raise Refusal("what surrounds the subject throws no shadow: give --invert or --shadow")
        if self.alpha_matting and self.quality not in (None, "coarse"):
            raise Refusal("-a decides the outline in its own way, from the coarse mask: give it or --quality")
        for flag, value in (
            ("-af", self.alpha_matting_foreground_threshold),
            ("-ab", self.alpha_matting_background_threshold),
            ("-ae", self.alpha_matting_erode_size),
        ):
            if value is not None and not self.alpha_matting:
                raise Refusal(f"{flag} is a parameter of -a: give both")

    def outline(self) -> Outline:
        """How the alpha is found."""
        from u2net.cutout.outline import Matting, Outline

        given = {
            "foreground_threshold": self.alpha_matting_foreground_threshold,
            "background_threshold": self.alpha_matting_background_threshold,
            "erode_size": self.alpha_matting_erode_size,
        }
        matting = Matting(**{name: value for name, value in given.items() if value is not None})
        return Outline(self.quality, matting if self.alpha_matting else None, hard=self.post_process_mask)

    def finish(self, format_: Format) -> Finish:
        """What is made of picture and alpha for a file of this format. Raises OSError of a background."""
        from u2net.cutout.finish import Crop, Finish

        cropped = self.crop or self.crop_margin is not None or self.crop_aspect is not None
        return Finish(
            parts=self.keep_largest,
            inverted=self.invert,
            crop=Crop(self.crop_margin or 0.0, self.crop_aspect) if cropped else None,
            only_mask=self.only_mask,
            clean=self.decontaminate or self.outline().cleans_colors,
            shadow=self.shadow,
            backdrop=None if self.only_mask else self._backdrop(format_),
        )

    def _backdrop(self, format_: Format) -> Backdrop | None:
        from u2net.cutout.compose import blur_backdrop, color_backdrop, gradient_backdrop, picture_backdrop
        from u2net.errors import InvalidImage
        from u2net.images.load import load_image

        colors = self._colors()
        if format_ == "jpg" and any(color[3] < 255 for color in colors):
            raise Refusal("JPEG has no transparency: give an opaque background, or --format png or webp")
        if len(colors) == 2:
            return gradient_backdrop(*colors)
        if colors:
            return color_backdrop(*colors)
        if self.background == _BLUR:
            return blur_backdrop()
        if self.background is not None:
            try:
                return picture_backdrop(load_image(self.background))
            except InvalidImage as error:
                raise Refusal(f"{self.background}: {error}") from None
        return color_backdrop((255, 255, 255, 255)) if format_ == "jpg" else None  # JPEG has no transparency

    def _colors(self) -> list[Color]:
        """The one or two colours of the background; none if it is something else."""
        if self.bgcolor:
            return [self.bgcolor]
        if self.background is None or self.background == _BLUR:
            return []
        colors = [_color(name) for name in self.background.split(_TO, 1)]
        if all(colors):
            return [color for color in colors if color]
        if os.path.isfile(self.background):
            return []
        raise Refusal(
            f"{self.background!r} is no background: give a colour (a name, #rrggbb, #rrggbbaa, rgb(…)), "
            f"two with {_TO} between them, {_BLUR}, or a picture's file"
        )


def _color(name: str) -> Color | None:
    from PIL import ImageColor

    try:
        red, green, blue, *opacity = ImageColor.getrgb(name)
    except ValueError:
        return None
    return red, green, blue, opacity[0] if opacity else 255
