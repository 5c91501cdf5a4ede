"""Is a result trustworthy: figures that stand in the ledger beside every restored input."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ganray.raster.image import FloatPixels

CLIP_TOLERANCE = 0.5 / 255


@dataclass(frozen=True)
class Trust:
    """How far a restoration departs from its input; all for pixels in 0-1.

    `consistency` is the mean absolute difference between the input and the restoration
    brought back to its resolution by area averaging. `colour_drift` is the largest difference
    between a band's means before and after. `clipped` is the fraction of values that fell
    outside 0-1 by more than half a step of 8 bits, and were cut. `non_finite` is the fraction
    of values that half precision could not hold, and that were computed again in float32.
    """

    consistency: float
    colour_drift: float
    clipped: float
    non_finite: float = 0.0


class TrustMeter:
    """Sums up `Trust` patch by patch and window by window, in flat memory."""

    def __init__(self, bands: int) -> None:
        self._drift: NDArray[np.float64] = np.zeros(bands)
        self._difference = 0.0
        self._clipped = 0.0
        self._non_finite = 0.0
        self._num_samples = 0
        self._num_values = 0

    def add(self, degraded: FloatPixels, restored: FloatPixels, scale: int) -> None:
        """Account for one window: (C,h,w) before and (C,scale·h,scale·w) after, not clamped."""
        sums = measure(torch.from_numpy(degraded), torch.from_numpy(restored), scale)
        self.add_sums(list(range(degraded.shape[0])), sums.numpy(), degraded.size, restored.size)

    def add_sums(
        self, bands: list[int], sums: NDArray[np.float32], num_samples: int, num_values: int
    ) -> None:
        """Account for what `measure` returned for `bands`."""
        self._difference += float(sums[0])
        self._clipped += float(sums[1])
        self._drift[bands] += sums[2:]
        self._num_samples += num_samples
        self._num_values += num_values

    def add_non_finite(self, number: float) -> None:
        self._non_finite += number

    def merge(self, sums: dict[str, Any]) -> None:
        """Account for another meter of the same image, given as `as_dict`."""
        self._drift += np.array(sums["drift"])
        self._difference += sums["difference"]
        self._clipped += sums["clipped"]
        self._non_finite += sums["non_finite"]
        self._num_samples += sums["num_samples"]
        self._num_values += sums["num_values"]

    def as_dict(self) -> dict[str, Any]:
        """The sums, to be stored and merged elsewhere."""
        return {
            "drift": self._drift.tolist(),
            "difference": self._difference,
            "clipped": self._clipped,
            "non_finite": self._non_finite,
            "num_samples": self._num_samples,
            "num_values": self._num_values,
        }

    def result(self) -> Trust:
        pixels_per_band = self._num_samples / self._drift.size
        return Trust(
            consistency=self._difference / self._num_samples,
            colour_drift=float(np.abs(self._drift).max()) / pixels_per_band,
            clipped=self._clipped / self._num_values,
            non_finite=self._non_finite / self._num_values,
        )


def measure(degraded_CHW: Tensor, restored_CHW: Tensor, scale: int) -> Tensor:
    """Sums for a `TrustMeter`: |departure|, clipped values, and each band's departure."""
    brought_back = F.avg_pool2d(restored_CHW.clamp(0, 1), scale)
    departure = brought_back - degraded_CHW
    outside = (restored_CHW < -CLIP_TOLERANCE) | (restored_CHW > 1 + CLIP_TOLERANCE)
    return torch.cat(
        [departure.abs().sum()[None], outside.sum()[None].float(), departure.sum(dim=(1, 2))]
    )
