"""Record what the authors' own steps make of the demo photograph: tests/golden/coffee.u2netp.png.

Written from their test script's description with scikit-image and the official ONNX file, and without this package:

    python tests/golden/make_authors_map.py path/to/official/u2netp.onnx
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from skimage.transform import resize

HERE = Path(__file__).parent
photograph = Image.open(HERE.parents[1] / "docs/images/coffee.jpg")

picture = resize(np.asarray(photograph), (320, 320), mode="constant", order=1, anti_aliasing=False)
picture = picture / np.max(picture)
picture = (picture - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
session = onnxruntime.InferenceSession(sys.argv[1])
outputs = session.run(None, {"input.1": picture.transpose(2, 0, 1)[None].astype(np.float32)})
saliency = outputs[0][0, 0]
saliency = (saliency - saliency.min()) / (saliency.max() - saliency.min())
levels = Image.fromarray(saliency * 255).convert("RGB").resize(photograph.size, Image.Resampling.BILINEAR)
levels.getchannel(0).save(HERE / "coffee.u2netp.png", optimize=True)
