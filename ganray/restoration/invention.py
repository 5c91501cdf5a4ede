"""Where a restoration shows what its input does not say, told without a reference.

An input pixel stands for the mean of scale × scale pixels. Whatever a restoration adds beyond
bicubic magnification falls into two parts: one that vanishes when it is brought back to the
input's size, which the input can neither prove nor deny, and one that the input denies.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from ganray.raster.image import FloatPixels
from ganray.raster.resample import magnify, repeat

WINDOW_PIXELS = 7
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Invention:
    """Two maps (H,W) of the restored size: root mean squares over 7×7 pixels and all bands, of
    values in 0-1.

    `invented` is detail a − P(a) of what was added, a = restored − bicubic, where P takes the mean
    of each scale × scale block: the input is the same with it and without. `denied` is
    P(restored) − input. At scale 1 nothing is invented so, and every change is denied.
    """

    invented: Map
    denied: Map


def find_invention(degraded: FloatPixels, restored: FloatPixels) -> Invention:
    """The maps of degraded (C,h,w) and restored (C,scale·h,scale·w), both in 0-1."""
    _, height, width = restored.shape
    scale = height // degraded.shape[1]
    assert (height, width) == tuple(scale * side for side in degraded.shape[1:])
    added = restored - magnify(degraded, height, width)
    invented = added - repeat(_block_means(added, scale), scale)
    denied = repeat(_block_means(restored, scale) - degraded, scale)
    return Invention(_local_root(invented), _local_root(denied))


def _block_means(pixels: FloatPixels, scale: int) -> FloatPixels:
    bands, height, width = pixels.shape
    blocks = pixels.reshape(bands, height // scale, scale, width // scale, scale)
    means: FloatPixels = blocks.mean(axis=(2, 4), dtype=np.float32)
    return means


def _local_root(pixels: FloatPixels) -> Map:
    squares = np.square(pixels).mean(axis=0)
    roots: Map = np.sqrt(np.maximum(uniform_filter(squares, WINDOW_PIXELS, mode="reflect"), 0))
    return roots
