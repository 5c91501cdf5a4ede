"""A network on its device, from stored pixels to stored pixels.

What happens between two transfers is one function of tensors, so that it can be compiled
whole.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.errors import RestorationError
from ganray.raster.ranges import ValueRanges
from ganray.raster.windows import Box
from ganray.restoration.guard import measure

# Types that every device computes with; unsigned 16 bits travel as signed ones.
STORED_TYPES = {
    "uint8": torch.uint8,
    "uint16": torch.int16,
    "int16": torch.int16,
    "float32": torch.float32,
}


@dataclass(frozen=True)
class Encoding:
    """What stored values mean: their type, and the `ranges` that are 0-1 to a generator.

    Without ranges, unsigned integers are 0-1 over all of their type, and floats as they are. What
    lies beyond a range is cut before the generator sees it, and added again to its result.
    """

    dtype: str
    ranges: ValueRanges | None = None

    def __post_init__(self) -> None:
        is_signed = self.dtype in STORED_TYPES and np.dtype(self.dtype).kind == "i"
        if self.dtype not in STORED_TYPES or (is_signed and self.ranges is None):
            raise RestorationError(
                f"pixels of {self.dtype}; expected uint8, uint16 or float32 (0-1), or int16 with "
                "the ranges of values that are 0-1"
            )
        if self.ranges and not all(low < high for low, high in self.ranges):
            raise RestorationError(f"ranges {self.ranges}; expected low below high")

    @property
    def is_deep(self) -> bool:
        """Whether half precision would show."""
        return self.dtype != "uint8"

    @property
    def is_float(self) -> bool:
        return np.dtype(self.dtype).kind == "f"

    @property
    def stored_type(self) -> torch.dtype:
        return STORED_TYPES[self.dtype]

    def to_numbers(self, stored_BCHW: Tensor) -> Tensor:
        """Stored values in float32."""
        numbers = stored_BCHW.float()
        return torch.where(numbers < 0, numbers + 2**16, numbers) if self._wraps else numbers

    def to_unit(self, numbers_BCHW: Tensor) -> Tensor:
        """What a generator sees, where it is in its range."""
        if self.ranges is None:
            return numbers_BCHW if self.is_float else numbers_BCHW / self._largest
        low, high = self._bounds(numbers_BCHW)
        return (numbers_BCHW - low) / (high - low)

    def from_unit(self, unit_BCHW: Tensor) -> Tensor:
        """Inverse of `to_unit`, not rounded; of differences where there are ranges."""
        if self.ranges is None:
            return unit_BCHW if self.is_float else unit_BCHW * self._largest
        low, high = self._bounds(unit_BCHW)
        return unit_BCHW * (high - low)

    def to_stored(self, numbers: Tensor) -> Tensor:
        """Stored values of numbers: rounded and cut to the type; floats as they are."""
        if self.is_float:
            return numbers
        whole = numbers.round()
        if self.ranges is not None:
            limits = np.iinfo(self.dtype)
            whole = whole.clamp(limits.min, limits.max)
        if self._wraps:
            whole = torch.where(whole >= 2**15, whole - 2**16, whole)
        return whole.to(self.stored_type)

    def _bounds(self, like_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The values of 0 and of 1, (C,1,1)."""
        low, high = like_BCHW.new_tensor(self.ranges).T[:, :, None, None]
        return low, high

    @property
    def _largest(self) -> int:
        return int(np.iinfo(self.dtype).max)

    @property
    def _wraps(self) -> bool:
        return self.dtype == "uint16"


@dataclass(frozen=True)
class Generator:
    """A network on its device, and how it is applied. `half` is for 8-bit pixels, `deep` for
    others; None is float32. `compiles` says that full batches are worth a compiler's time,
    `takes_mask` that the network's last input channel is a mask of lost pixels."""

    network: nn.Module = field(repr=False)
    device: torch.device
    bands: int
    scale: int
    half: torch.dtype | None
    deep: torch.dtype | None
    compiles: bool = False
    takes_mask: bool = False

    def dtype_for(self, encoding: Encoding) -> torch.dtype | None:
        return self.deep if encoding.is_deep else self.half

    def run(
        self, degraded_BCHW: Tensor, dtype: torch.dtype | None, mask_B1HW: Tensor | None = None
    ) -> Tensor:
        """Float32 output, not clamped; one band goes in repeated and comes out averaged.

        A network that takes a mask and is given none is told that nothing is lost.
        """
        is_gray = degraded_BCHW.shape[1] == 1 and self.bands > 1
        wide = degraded_BCHW.expand(-1, self.bands, -1, -1) if is_gray else degraded_BCHW
        if self.takes_mask:
            lost = torch.zeros_like(wide[:, :1]) if mask_B1HW is None else mask_B1HW
            wide = torch.cat([wide, lost], 1)
        wide = wide.contiguous(memory_format=torch.channels_last)
        with self._precision(dtype):
            restored: Tensor = self.network(wide).float()
            if not is_gray:
                return restored
            # The mean, which is exact where all bands are the same.
            first = restored[:, :1]
            return first + (restored - first).mean(1, keepdim=True)

    def _precision(self, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
        if dtype is not None:
            return torch.autocast(self.device.type, dtype)
        if self.device.type == "cuda":
            # Ten bits of mantissa, which is what convolutions would otherwise use, are no float32.
            return torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=False, allow_tf32=False
            )
        return nullcontext()


class Magnifier(nn.Module):
    """Degraded (B,C,H,W) to (B,C,scale·H,scale·W), by interpolation or by repetition."""

    def __init__(self, scale: int, mode: Literal["bicubic", "nearest"]) -> None:
        super().__init__()
        self.scale = scale
        self.mode = mode

    def forward(self, degraded_BCHW: Tensor) -> Tensor:
        return F.interpolate(degraded_BCHW, scale_factor=float(self.scale), mode=self.mode)


def magnifier(like: Generator, treatment: Literal["magnify", "repeat"]) -> Generator:
    """What stands in for a generator where bands only become larger."""
    network = Magnifier(like.scale, "bicubic" if treatment == "magnify" else "nearest")
    return Generator(network, like.device, bands=1, scale=like.scale, half=None, deep=None)


def restore_stored(
    generator: Generator,
    stored_BHWC: Tensor,
    kept: Tensor | Box | None,
    encoding: Encoding,
    dtype: torch.dtype | None,
    *,
    rounds: bool = True,
) -> tuple[Tensor, Tensor]:
    """Stored pixels to restored ones (B,scale·H,scale·W,C), and `measure`'s figures (B,5+C).

    `kept` is what is measured, in input pixels: top, left, bottom and right (B,4), or one box
    for all; None is everything. Without `rounds` the result is of float32, so that it can still
    be blended. To a generator that takes a mask the last channel is one: 0 where nothing is lost.
    """
    numbers = encoding.to_numbers(stored_BHWC.permute(0, 3, 1, 2))
    mask = None
    if generator.takes_mask:
        numbers, mask = numbers[:, :-1], (numbers[:, -1:] != 0).float()
    seen = encoding.to_unit(numbers)
    seen = seen.clamp_(0, 1) if encoding.ranges else seen
    restored = generator.run(seen, dtype, mask)
    sums = _measure(seen, restored, generator.scale, kept, mask)
    result = restored.clamp(0, 1)
    if encoding.ranges:
        # What the generator changed, added to what there was: exact where it changed nothing, and
        # beyond the range, where it saw nothing.
        change = encoding.from_unit(result - _repeat(seen, generator.scale))
        result = _repeat(numbers, generator.scale) + change
    else:
        result = encoding.from_unit(result)
    stored = encoding.to_stored(result) if rounds else result
    return stored.permute(0, 2, 3, 1).contiguous(), sums


def _repeat(values_BCHW: Tensor, scale: int) -> Tensor:
    return F.interpolate(values_BCHW, scale_factor=scale) if scale > 1 else values_BCHW


def _measure(
    seen: Tensor, restored: Tensor, scale: int, kept: Tensor | Box | None, mask: Tensor | None
) -> Tensor:
    """`measure`, which is quicker for one box than for many."""
    if not isinstance(kept, Box):
        return measure(seen, restored, scale, kept, mask)
    lost = None if mask is None else _cut(mask, kept)
    cut = _cut(seen, kept), _cut(restored, kept.scale(scale))
    sums = measure(*cut, scale, lost_B1HW=lost)
    # Two figures are of all that is read. Any value that is not finite makes a sum that is not.
    whole = (1, 2, 3)
    is_bad = 1 - (restored.sum(whole) * 0).isfinite().float()
    extremes = torch.stack([seen.amin(whole), seen.amax(whole)], 1)
    return torch.cat([is_bad[:, None], sums[:, 1:-2], extremes], 1)


def _cut(values_BCHW: Tensor, box: Box) -> Tensor:
    return values_BCHW[:, :, box.top : box.bottom, box.left : box.right]
