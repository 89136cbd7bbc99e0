"""`remove` and `new_session`: rembg's names, parameters and order over this package's parts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.cutout.compose import Backdrop, color_backdrop
from u2net.cutout.finish import Finish
from u2net.cutout.outline import Matting, Outline, Quality
from u2net.images.load import ImageData, Picture, load_image
from u2net.images.save import same_kind
from u2net.inference.open import new_session
from u2net.inference.session import Session

if TYPE_CHECKING:
    pass

Color = tuple[int, int, int] | tuple[int, int, int, int]
"""Red, green, blue and, if given, opacity; 0 to 255 each."""


_default_session: Session | None = None
_default_session_lock = threading.Lock()


def remove(
    data: ImageData | Picture,
    alpha_matting: bool = False,
    alpha_matting_foreground_threshold: int = 240,
    alpha_matting_background_threshold: int = 10,
    alpha_matting_erode_size: int = 10,
    session: Session | None = None,
    only_mask: bool = False,
    post_process_mask: bool = False,
    decontaminate: bool = False,
    vitmatte: bool = False,
    vitmatte_model: str | None = None,
    bgcolor: Color | None = None,
    force_return_bytes: bool = False,
    *,
    putalpha: bool = False,
    quality: Quality | None = None,
    bit_depth: Literal[8, 16] = 8,
) -> bytes | Image.Image | NDArray[np.uint8 | np.uint16]:
    """Cut the subject out of a picture; the parameters but the last two are rembg's, in its order.

    Bytes in give PNG bytes out, an array an array, a PIL image, path or `Picture` a PIL image; `force_return_bytes`
    gives PNG bytes for all. The result is RGBA at the upright picture's size, colours straight; with `only_mask` the
    alpha alone, "L" or uint8 (H, W). Transparency that the input has stays: the alpha is multiplied by it.

    With a `bit_depth` of 16 the result is uint16 (H, W, 4) or (H, W), made of 16 bits if the input has them
    (`u2net.images.load.load_image`); bytes in, and `force_return_bytes`, give a TIFF file's bytes.

    `session` is from `new_session`; without one the packaged model is opened once and kept. The rest is as `render`
    says. Raises InvalidImage for what is not an acceptable picture, MissingExtra for a TIFF file of 16 bits without
    tifffile, and ValueError for parameters out of range or that make no sense together, as for 16 bits `bgcolor` and
    `alpha_matting`; `vitmatte`, a further network, is refused rather than ignored.
    """
    if vitmatte or vitmatte_model is not None:
        raise ValueError("vitmatte is not supported: quality='best' or alpha_matting=True refine without its network")
    if bit_depth not in (8, 16):
        raise ValueError(f"bit_depth is 8 or 16, got {bit_depth}")
    outline, finish = _asked(
        only_mask=only_mask,
        post_process_mask=post_process_mask,
        bgcolor=bgcolor,
        putalpha=putalpha,
        quality=quality,
        decontaminate=decontaminate,
        alpha_matting=alpha_matting,
        alpha_matting_foreground_threshold=alpha_matting_foreground_threshold,
        alpha_matting_background_threshold=alpha_matting_background_threshold,
        alpha_matting_erode_size=alpha_matting_erode_size,
    )
    if bit_depth == 16:
        outline.check_16_bits()
        finish.check_16_bits()
    picture = load_image(data, bit_depth=bit_depth)
    in_place = not isinstance(data, Picture)
    image = _cut_out(picture, session or _shared_session(), outline, finish, in_place=in_place)
    return same_kind(b"" if force_return_bytes else data, image, picture.icc_profile)


def render(
    picture: Picture,
    session: Session,
    *,
    only_mask: bool = False,
    post_process_mask: bool = False,
    bgcolor: Color | None = None,
    putalpha: bool = False,
    quality: Quality | None = None,
    decontaminate: bool = False,
    alpha_matting: bool = False,
    alpha_matting_foreground_threshold: int = 240,
    alpha_matting_background_threshold: int = 10,
    alpha_matting_erode_size: int = 10,
    in_place: bool = False,
) -> Image.Image:
    """What `remove` makes of a decoded picture: "RGBA", or "L" with `only_mask`, in the picture's colour space.

    `quality` says how the outline is decided: "coarse", "fast", "balanced" or "best" (`u2net.cutout.outline`); None is
    "fast" for the packaged model. `alpha_matting` decides it as rembg does instead, by its three parameters.
    `post_process_mask` makes the alpha hard, with smooth outlines.

    `decontaminate` takes the old background out of the colours of soft outlines, as "balanced", "best" and
    `alpha_matting` do anyway. `putalpha` keeps all colours of the picture, those under transparent pixels too, which
    are erased otherwise; only for `alpha_matting` colours are cleaned all the same, as in rembg. `bgcolor` puts the
    cut-out over a colour.

    `in_place` may make the result of the picture's own pixels, which nobody may use afterwards.
    """
    outline, finish = _asked(
        only_mask=only_mask,
        post_process_mask=post_process_mask,
        bgcolor=bgcolor,
        putalpha=putalpha,
        quality=quality,
        decontaminate=decontaminate,
        alpha_matting=alpha_matting,
        alpha_matting_foreground_threshold=alpha_matting_foreground_threshold,
        alpha_matting_background_threshold=alpha_matting_background_threshold,
        alpha_matting_erode_size=alpha_matting_erode_size,
    )
    image = _cut_out(picture.in_bits(8), session, outline, finish, in_place=in_place)
    assert isinstance(image, Image.Image)
    return image


def _asked(
    *,
    only_mask: bool,
    post_process_mask: bool,
    bgcolor: Color | None,
    putalpha: bool,
    quality: Quality | None,
    decontaminate: bool,
    alpha_matting: bool,
    alpha_matting_foreground_threshold: int,
    alpha_matting_background_threshold: int,
    alpha_matting_erode_size: int,
) -> tuple[Outline, Finish]:
    """What rembg's parameters ask for."""
    thresholds = alpha_matting_foreground_threshold, alpha_matting_background_threshold, alpha_matting_erode_size
    outline = Outline(quality, Matting(*thresholds) if alpha_matting else None, hard=post_process_mask)
    backdrop: Backdrop | None = None
    if bgcolor is not None:
        if not (len(bgcolor) in (3, 4) and all(value in range(256) for value in bgcolor)):
            raise ValueError(f"bgcolor is 3 or 4 whole numbers from 0 to 255, got {bgcolor}")
        backdrop = color_backdrop((*bgcolor, 255)[:4])
    finish = Finish(
        only_mask=only_mask,
        clean=alpha_matting or ((decontaminate or outline.cleans_colors) and not putalpha),
        keep_hidden=putalpha,
        backdrop=backdrop,
    )
    return outline, finish


def _cut_out(
    picture: Picture, session: Session, outline: Outline, finish: Finish, *, in_place: bool
) -> Image.Image | NDArray[np.uint16]:
    prediction = outline.predict(picture, session)
    return finish.apply(picture, outline.alpha(picture, prediction, session.card.transform), in_place=in_place)


def _shared_session() -> Session:
    """The packaged model, opened by the first thread that needs it."""
    global _default_session
    with _default_session_lock:
        if _default_session is None:
            _default_session = new_session()
        return _default_session
