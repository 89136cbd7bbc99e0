"""A script as rembg's users write it: python rembg_script.py PICTURE FOLDER. Run by compat_rembg.py."""

import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rembg import new_session, remove

picture, folder = Path(sys.argv[1]), Path(sys.argv[2])
content = picture.read_bytes()
image = Image.open(picture)
array = np.asarray(image)
session = new_session("u2netp")

results = {
    "bytes": remove(content, session=session),
    "PIL": remove(image, session=session),
    "ndarray": remove(array, session=session),
    "force_return_bytes": remove(content, session=session, force_return_bytes=True),
    "putalpha": remove(image, session=session, putalpha=True),
    "bgcolor": remove(image, session=session, bgcolor=(0, 120, 255, 255)),
    "bgcolor of bytes": remove(content, session=session, bgcolor=(0, 120, 255, 255)),
    "post_process_mask": remove(image, session=session, post_process_mask=True),
    "only_mask": remove(image, session=session, only_mask=True),
    "only_mask of bytes": remove(content, session=session, only_mask=True),
    "only_mask of ndarray": remove(array, session=session, only_mask=True),
    "only_mask, post_process_mask": remove(image, session=session, only_mask=True, post_process_mask=True),
    "alpha_matting": remove(image, True, 230, 20, 8, session),
    "decontaminate": remove(image, session=session, decontaminate=True),
    "all by position": remove(content, False, 240, 10, 10, session, True, True, False, False, None, None, False),
}

told = {}
for name, result in results.items():
    if isinstance(result, bytes):
        shown = Image.open(io.BytesIO(result))
        kind = f"{shown.format} bytes"
    elif isinstance(result, np.ndarray):
        shown = Image.fromarray(result)
        kind = f"{result.dtype} array"
    else:
        shown = result
        kind = "PIL image"
    shown.save(folder / f"{name}.png")
    told[name] = f"{kind}, {shown.mode}, {shown.width}×{shown.height}"
(folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
