import numpy as np
import pytest
from PIL import Image

from u2net.models.transform import enlarge


@pytest.mark.parametrize("size", [(50, 40), (320, 320), (1, 3), (1500, 900), (513, 2500), (5000, 300), (300, 5000)])
@pytest.mark.parametrize("kernel", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_it_is_what_pillow_gives(size, kernel, dtype):
    values = (np.random.default_rng(0).random((320, 320)) * 255).astype(dtype)
    np.testing.assert_array_equal(
        enlarge(values, size, kernel), np.asarray(Image.fromarray(values).resize(size, kernel))
    )
