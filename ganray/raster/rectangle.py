"""The largest rectangle of an image in which every pixel has a value: what can be measured.

Found on a grid of at most GRID cells a side, so that it takes a moment for any image, and may be
smaller than the largest one by two cells each way.
"""

from collections.abc import Sequence

import numpy as np

from ganray.raster.validity import Mask
from ganray.raster.windows import Box

GRID = 128


def largest_valid_box(valid: Mask, multiple: int = 1) -> Box:
    """The largest box of (H,W) without an invalid pixel, on multiples of `multiple` pixels; of no
    height where there is none."""
    height, width = valid.shape
    step = multiple * max(1, -(-max(height, width) // (GRID * multiple)))
    rows, columns = height // step, width // step
    cells = valid[: rows * step, : columns * step].reshape(rows, step, columns, step)
    heights = [0] * columns
    best = Box(0, 0, 0, 0)
    grid: Mask = np.logical_and.reduce(cells, axis=(1, 3))
    for row, is_valid in enumerate(grid, start=1):
        heights = [h + 1 if known else 0 for h, known in zip(heights, is_valid, strict=True)]
        best = max(best, _largest_below(heights, row), key=lambda box: box.num_pixels)
    return Box(best.top * step, best.left * step, best.bottom * step, best.right * step)


def _largest_below(heights: Sequence[int], bottom: int) -> Box:
    """The largest rectangle that stands on row `bottom`, under columns of these heights.

    Each column ends those before it that are higher; what they reached is measured then.
    """
    best = Box(bottom, 0, bottom, 0)
    open_columns: list[tuple[int, int]] = []
    for right, height in enumerate((*heights, 0)):
        left = right
        while open_columns and open_columns[-1][1] >= height:
            left, higher = open_columns.pop()
            found = Box(bottom - higher, left, bottom, right)
            best = max(best, found, key=lambda box: box.num_pixels)
        open_columns.append((left, height))
    return best
