"""Antialiased resampling: one implementation for degradation, baseline and trust figures.

Pillow's kernels in 32-bit float: bicubic has a = -0.5 and widens when it shrinks, as
MATLAB's `imresize`, the reference of the super-resolution literature, does.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ganray.raster.image import FloatPixels

ScalarT = TypeVar("ScalarT", bound=np.generic)

KERNELS = {
    "area": PillowImage.Resampling.BOX,
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
    "lanczos": PillowImage.Resampling.LANCZOS,
}


def resize(pixels: FloatPixels, height: int, width: int, *, kernel: str = "bicubic") -> FloatPixels:
    """Resample (C,H,W) to (C,height,width); values may overshoot 0-1, as the kernel does."""
    resized = np.empty((pixels.shape[0], height, width), np.float32)
    for band, plane in enumerate(pixels):
        source = PillowImage.fromarray(np.ascontiguousarray(plane, np.float32))
        resized[band] = np.asarray(source.resize((width, height), KERNELS[kernel]))
    return resized


def magnify(pixels: FloatPixels, height: int, width: int) -> FloatPixels:
    """(C,h,w) in 0-1 as (C,height,width), by bicubic, cut to 0-1: what any restoration is held
    against."""
    magnified: FloatPixels = np.clip(resize(pixels, height, width, kernel="bicubic"), 0.0, 1.0)
    return magnified


def repeat(values: NDArray[ScalarT], scale: int) -> NDArray[ScalarT]:
    """(…,H,W) values, magnified by repetition: what there was, as it was."""
    return values.repeat(scale, -2).repeat(scale, -1)
