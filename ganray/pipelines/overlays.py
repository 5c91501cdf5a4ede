"""Maps drawn over a picture: its gray shows through, the map is the colour."""

import numpy as np
from numpy.typing import NDArray

from ganray.pipelines.picture_files import picture_of
from ganray.raster.image import FloatPixels
from ganray.report.encoding import Picture

FULL = 0.1
HOT = (1.0, 0.25, 0.0)
COLD = (0.1, 0.35, 1.0)
OPACITY = 0.85
DIMMED = 0.75
"""Of the gray below, so that colour stands out on white too."""
Values = NDArray[np.float32]


def draw_heat(below: FloatPixels, values: Values, full: float = FULL) -> Picture:
    """Values (H,W) from 0 as red over pixels (C,H,W); at `full` and beyond it is opaque."""
    return _blend(below, np.clip(values / full, 0, 1), HOT)


def draw_divided(below: FloatPixels, values: Values) -> Picture:
    """Values (H,W) from -1, red, to 1, blue, over pixels (C,H,W)."""
    shares = np.clip(np.abs(values), 0, 1)
    colours = np.where(values[..., None] < 0, HOT, COLD)
    return _blend(below, shares, colours)


def _blend(below: FloatPixels, shares: Values, colour: object) -> Picture:
    gray = below[:3].mean(axis=0) * DIMMED
    share = (OPACITY * shares)[..., None]
    mixed = gray[..., None] * (1 - share) + np.asarray(colour, np.float32) * share
    return picture_of(np.moveaxis(mixed.astype(np.float32), -1, 0))
