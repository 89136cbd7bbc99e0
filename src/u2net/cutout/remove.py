"""The way from a picture to its cut-out, and `remove`: the same with rembg's parameters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.cutout.config import CutoutConfig, Quality
from u2net.cutout.finish import Finish
from u2net.cutout.outline import Outline
from u2net.images.limits import Limits
from u2net.images.load import ImageData, load_image
from u2net.images.picture import Picture
from u2net.images.save import encode, same_kind
from u2net.inference.open import new_session
from u2net.inference.session import Prediction, Session
from u2net.models import DEFAULT

_shared_sessions: dict[str, Session] = {}
_shared_sessions_lock = threading.Lock()


def cut_out(
    picture: Picture,
    session: Session,
    outline: Outline,
    finish: Finish,
    *,
    region: tuple[int, int, int, int] | None = None,
    check: Callable[[Prediction], None] | None = None,
    in_place: bool = False,
) -> Image.Image | NDArray[np.uint16]:
    """From a decoded picture to what is made of it: the one way that all interfaces take.

    The network looks, the outline is found, and picture and alpha are finished; the result is as `Finish.apply` says.
    With a `region`, left, top, right and bottom within the picture, nothing else is looked at, and all else counts as
    background. `check` sees what the network gave before anything is made of it; what it raises ends the way.
    `in_place` may make the result of the picture's own pixels, which nobody may use afterwards.
    """
    part = picture if region is None else picture.crop(region)
    prediction = outline.predict(part, session)
    if check is not None:
        check(prediction)
    alpha = outline.alpha(part, prediction)
    if region is not None:
        left, top, right, bottom = region
        width, height = picture.size
        alpha = np.pad(alpha, ((top, height - bottom), (left, width - right)))
    return finish.apply(picture, alpha, in_place=in_place)


def remove(
    data: ImageData | Picture,
    alpha_matting: bool = False,
    alpha_matting_foreground_threshold: int = 240,
    alpha_matting_background_threshold: int = 10,
    alpha_matting_erode_size: int = 10,
    session: Session | str | None = None,
    only_mask: bool = False,
    post_process_mask: bool = False,
    decontaminate: bool = False,
    vitmatte: bool = False,
    vitmatte_model: str | None = None,
    bgcolor: Sequence[float] | None = None,
    force_return_bytes: bool = False,
    *,
    putalpha: bool = False,
    keep_colors: bool = False,
    quality: Quality | None = None,
    looks: int | None = None,
    bit_depth: Literal[8, 16] = 8,
    limits: Limits | None = None,
) -> bytes | Image.Image | NDArray[np.uint8 | np.uint16]:
    """Cut the subject out of a picture. The parameters before `putalpha` are rembg's, in its order.

    Bytes or an open file give PNG bytes out, an array an array, a PIL image, path or `Picture` a PIL image;
    `force_return_bytes` gives PNG bytes for all. The result is RGBA at the upright picture's size, colours straight;
    with `only_mask` the alpha alone, "L" or uint8 (H, W). Transparency that the input has stays: the alpha is
    multiplied by it.

    With a `bit_depth` of 16 the result is uint16 (H, W, 4) or (H, W); bytes in, and `force_return_bytes`, give a TIFF
    file's bytes.

    The old background is taken out of the colours of soft edges, unless `keep_colors`, `putalpha` or the quality
    "coarse" is given.

    `session` is from `new_session`, or what `new_session` takes as a name: that is opened once and kept, and without it
    the packaged model. `bgcolor` is 3 or 4 whole numbers from 0 to 255, red, green, blue and opacity, and puts the
    cut-out over this colour. `limits` say what sizes of pictures are accepted; `load_image` says which are without it.
    All else is as `CutoutConfig` describes it.

    Raises InvalidImage for what is not an acceptable picture, MissingExtra for a TIFF file of 16 bits without
    tifffile, and ValueError for parameters out of range or that make no sense together; `vitmatte`, a further network,
    is refused rather than ignored.
    """
    if vitmatte or vitmatte_model is not None:
        raise ValueError("vitmatte is not supported: quality='best' or alpha_matting=True refine without its network")
    config = CutoutConfig(
        quality=quality,
        looks=looks,
        only_mask=bool(only_mask),
        post_process_mask=bool(post_process_mask),
        alpha_matting=bool(alpha_matting),
        alpha_matting_foreground_threshold=alpha_matting_foreground_threshold,
        alpha_matting_background_threshold=alpha_matting_background_threshold,
        alpha_matting_erode_size=alpha_matting_erode_size,
        keep_colors=bool(keep_colors),
        decontaminate=bool(decontaminate),
        putalpha=bool(putalpha),
        background=None if bgcolor is None else _name(bgcolor),
        format="tiff" if bit_depth == 16 else "png",
        bit_depth=bit_depth,
    )
    opened = session if isinstance(session, Session) else _shared_session(session or DEFAULT)
    picture = data if isinstance(data, Picture) else load_image(data, limits, bit_depth)
    made = cut_out(picture, opened, config.outline, config.finish, in_place=picture is not data)
    if force_return_bytes:
        return encode(made, config.format, picture.icc_profile, dpi=picture.dpi)
    return same_kind(picture.rgb if isinstance(data, Picture) else data, made, picture.icc_profile, picture.dpi)


def _name(color: Sequence[float]) -> str:
    """The colour as `CutoutConfig.background` takes it: #rrggbb or #rrggbbaa."""
    if not (len(color) in (3, 4) and all(value in range(256) for value in color)):
        raise ValueError(f"bgcolor is 3 or 4 whole numbers from 0 to 255, got {color}")
    if any(color) and all(isinstance(value, float) and value <= 1 for value in color):
        raise ValueError(f"bgcolor goes from 0 to 255, not from 0 to 1: {color} would be all but black")
    return "#" + bytes(int(value) for value in color).hex()


def _shared_session(model: str) -> Session:
    """A model, opened by the first thread that needs it."""
    with _shared_sessions_lock:
        if model not in _shared_sessions:
            _shared_sessions[model] = new_session(model)
        return _shared_sessions[model]
