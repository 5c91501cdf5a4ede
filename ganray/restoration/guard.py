"""Is a result trustworthy: figures that stand in the ledger beside every restored input."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganray.raster.image import FloatPixels


@dataclass(frozen=True)
class Trust:
    """How far a restoration departs from its input; all for pixels in 0-1.

    `consistency` is the mean absolute difference between the input and the restoration
    brought back to its resolution by area averaging. `colour_drift` is the largest difference
    between a band's means before and after. `clipped` is the fraction of values that fell
    outside 0-1 by more than half a step of 8 bits, and were cut.
    """

    consistency: float
    colour_drift: float
    clipped: float


class TrustMeter:
    """Sums up `Trust` window by window, in flat memory."""

    def __init__(self, bands: int) -> None:
        self._difference = 0.0
        self._drift: NDArray[np.float64] = np.zeros(bands)
        self._num_pixels = 0
        self._num_clipped = 0
        self._num_values = 0

    def add(self, degraded: FloatPixels, restored: FloatPixels, scale: int) -> None:
        """Account for one window: (C,h,w) before and (C,scale·h,scale·w) after, not clamped."""
        bands, height, width = degraded.shape
        blocks = np.clip(restored, 0, 1).reshape(bands, height, scale, width, scale)
        departure = blocks.mean(axis=(2, 4)) - degraded
        self._difference += float(np.abs(departure).mean(axis=0).sum())
        self._drift += departure.sum(axis=(1, 2))
        self._num_pixels += height * width
        tolerance = 0.5 / 255
        outside = (restored < -tolerance) | (restored > 1 + tolerance)
        self._num_clipped += int(outside.sum())
        self._num_values += restored.size

    def result(self) -> Trust:
        return Trust(
            consistency=self._difference / self._num_pixels,
            colour_drift=float(np.abs(self._drift).max()) / self._num_pixels,
            clipped=self._num_clipped / self._num_values,
        )
