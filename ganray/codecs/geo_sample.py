"""A sample of a scene's pixels: the same in every process that looks, and cheap to read."""

from collections.abc import Callable, Iterator
from math import ceil, isqrt
from typing import Any

import numpy as np

from ganray.raster.validity import MaskedPixels
from ganray.raster.windows import Box

SIDE = 1024
"""How many pixels a sample has a side, unless they would take more than SAMPLE_BYTES."""
SAMPLE_BYTES = 64 << 20
PIECES = 4
"""Of a scene without small overviews the sample is so many pieces a side."""
COARSEST = 4
"""An overview larger than so many samples a side is not small."""

ReadBox = Callable[[Box], MaskedPixels]
ReadShape = Callable[[tuple[int, int]], MaskedPixels]


def read_sample(
    dataset: Any, pixel_bytes: int, *, read_box: ReadBox, read_reduced: ReadShape
) -> MaskedPixels:
    """Pixels (C,H,W) of all parts of a dataset: all of them, an overview, or pieces in a row.

    Without an overview, pieces: reading every n-th pixel of a file would read all of it.
    """
    height, width = dataset.shape
    side = min(SIDE, isqrt(SAMPLE_BYTES // pixel_bytes))
    longest = max(height, width)
    if longest <= side:
        return read_box(Box(0, 0, height, width))
    factors = [factor for factor in dataset.overviews(1) if longest / factor <= COARSEST * side]
    if factors:
        return read_reduced((ceil(height * side / longest), ceil(width * side / longest)))
    return _joined([read_box(box) for box in _pieces(height, width, side // PIECES)])


def _pieces(height: int, width: int, side: int) -> Iterator[Box]:
    """Boxes of a grid over the whole scene, each in the middle of its cell."""
    for top, bottom in _spans(height, side):
        for left, right in _spans(width, side):
            yield Box(top, left, bottom, right)


def _spans(length: int, side: int) -> Iterator[tuple[int, int]]:
    for number in range(PIECES):
        begin, end = length * number // PIECES, length * (number + 1) // PIECES
        if begin < end:
            start = max(begin, (begin + end - side) // 2)
            yield start, min(start + side, end)


def _joined(pieces: list[MaskedPixels]) -> MaskedPixels:
    """All pixels of pieces in one row, (C,1,N)."""
    rows = [piece.pixels.reshape(piece.pixels.shape[0], 1, -1) for piece in pieces]
    masks = [
        np.ones((1, row.shape[2]), np.bool_) if piece.mask is None else piece.mask.reshape(1, -1)
        for piece, row in zip(pieces, rows, strict=True)
    ]
    return MaskedPixels(np.concatenate(rows, axis=2), np.concatenate(masks, axis=1))
