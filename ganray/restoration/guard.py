"""Is a result trustworthy: figures that stand in the ledger beside every restored input."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CLIP_TOLERANCE = 0.5 / 255


@dataclass(frozen=True)
class Trust:
    """How far a restoration departs from its input; all for pixels in 0-1.

    `consistency` is the mean absolute difference between the input and the restoration
    brought back to its resolution by area averaging. `colour_drift` is the largest difference
    between a band's means before and after. What a mask calls lost counts in neither. `clipped` is
    the fraction of values that fell outside 0-1 by more than half a step of 8 bits, and were cut.
    `non_finite` is the fraction that was computed again in float32: patches some of whose values
    half precision could not hold.
    `span` is how far apart the smallest and the largest value are that the generator saw.
    """

    consistency: float
    colour_drift: float
    clipped: float
    non_finite: float = 0.0
    span: float = 1.0


class TrustMeter:
    """Sums up `Trust` patch by patch and window by window, in flat memory."""

    def __init__(self, bands: int) -> None:
        self._drift: NDArray[np.float64] = np.zeros(bands)
        self._difference = 0.0
        self._clipped = 0.0
        self._non_finite = 0.0
        self._num_samples = 0
        self._num_values = 0
        self._smallest = 1.0
        self._largest = 0.0

    def add_sums(
        self, bands: list[int], sums: NDArray[np.float32], num_samples: int, num_values: int
    ) -> None:
        """Account for what `measure` returned for `bands`, all of it finite: `num_samples` of the
        input were not lost."""
        self._difference += float(sums[1])
        self._clipped += float(sums[2])
        self._drift[bands] += sums[3:-2]
        self._extend(*sums[-2:])
        self._num_samples += num_samples
        self._num_values += num_values

    def _extend(self, smallest: float, largest: float) -> None:
        self._smallest = min(self._smallest, float(smallest))
        self._largest = max(self._largest, float(largest))

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
        # A window that an earlier version has staged does not say it.
        self._extend(sums.get("smallest", 0.0), sums.get("largest", 1.0))

    def as_dict(self) -> dict[str, Any]:
        """The sums, to be stored and merged elsewhere."""
        return {
            "drift": self._drift.tolist(),
            "difference": self._difference,
            "clipped": self._clipped,
            "non_finite": self._non_finite,
            "num_samples": self._num_samples,
            "num_values": self._num_values,
            "smallest": self._smallest,
            "largest": self._largest,
        }

    def result(self) -> Trust:
        # Where all is lost there is nothing to depart from.
        num_samples = max(1, self._num_samples)
        pixels_per_band = num_samples / self._drift.size
        return Trust(
            consistency=self._difference / num_samples,
            colour_drift=float(np.abs(self._drift).max()) / pixels_per_band,
            clipped=self._clipped / self._num_values,
            non_finite=self._non_finite / self._num_values,
            span=max(0.0, self._largest - self._smallest),
        )


def measure(
    degraded_BCHW: Tensor,
    restored_BCHW: Tensor,
    scale: int,
    kept_B4: Tensor | None = None,
    lost_B1HW: Tensor | None = None,
) -> Tensor:
    """Figures (B,5+C) for a `TrustMeter`: whether any value at all is not finite (else 0), the sums
    of |departure|, of clipped values and of each band's departure, and the smallest and largest
    value that was seen.

    `kept_B4` are top, left, bottom and right of what the sums are of, in input pixels; None is
    all. `lost_B1HW` is 1 where a pixel of the input was lost, from which nothing can depart.
    Arithmetic alone: comparisons take a CPU several times as long.
    """
    cut = restored_BCHW.clamp(0, 1)
    departure = shrink(cut, scale) - degraded_BCHW
    if lost_B1HW is not None:
        departure = departure * (1 - lost_B1HW)
    # Not a number, or infinite, where the value is.
    excess = (restored_BCHW - cut).abs_()
    clipped = (excess - CLIP_TOLERANCE).sign_().clamp_(min=0)
    whole = (1, 2, 3)
    is_bad = 1 - excess.sum(whole).isfinite().float()
    if kept_B4 is not None:
        kept = _inside(kept_B4, *degraded_BCHW.shape[2:])
        departure = torch.where(kept, departure, 0)
        clipped = torch.where(kept, shrink(clipped, scale) * scale**2, 0)
    counts = [is_bad, departure.abs().sum(whole), clipped.sum(whole)]
    seen = torch.stack([degraded_BCHW.amin(whole), degraded_BCHW.amax(whole)], 1)
    return torch.cat([torch.stack(counts, 1), departure.sum((2, 3)), seen], 1)


def shrink(pixels_BCHW: Tensor, scale: int) -> Tensor:
    """Means of scale x scale pixels; several times as fast as pooling, row by row at first."""
    if scale == 1:
        return pixels_BCHW
    rows = sum((pixels_BCHW[:, :, i::scale] for i in range(1, scale)), pixels_BCHW[:, :, ::scale])
    sums = sum((rows[..., i::scale] for i in range(1, scale)), rows[..., ::scale])
    return sums * (1 / scale**2)


def _inside(boxes_B4: Tensor, height: int, width: int) -> Tensor:
    """Which pixels (B,1,height,width) lie in each box."""
    top, left, bottom, right = boxes_B4[:, :, None, None, None].unbind(1)
    rows = torch.arange(height, device=boxes_B4.device)[:, None]
    columns = torch.arange(width, device=boxes_B4.device)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
