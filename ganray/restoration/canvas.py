"""One window in the making: it is cut into patches, and put together again on the device."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganray.errors import GanrayError, RestorationError
from ganray.raster.image import Pixels
from ganray.raster.windows import Box, Grid, Patch, Window, crop
from ganray.restoration.generator import Encoding, ValueRanges
from ganray.restoration.guard import TrustMeter


@dataclass(frozen=True)
class WindowTask:
    """One window to restore: `pixels` (C,h,w) of `window.read`, in their stored type.

    `alpha` is the index of an alpha band. `ranges` are those of `Encoding`, one per band.
    `token` is the caller's own and comes back with the result.
    """

    pixels: Pixels = field(repr=False)
    grid: Grid
    window: Window
    alpha: int | None = None
    token: Any = None
    ranges: ValueRanges | None = None


@dataclass(frozen=True)
class RestoredWindow:
    """A window's core (C,scale·h,scale·w) in the type of its input, or why there is none.

    The pixels lie in memory band by band within each pixel, as encoders want them.
    """

    task: WindowTask
    pixels: Pixels | None = field(repr=False)
    trust: TrustMeter
    error: GanrayError | None = None


@dataclass(frozen=True)
class Piece:
    """A patch of a canvas on its way through the generator: some bands of it, or a gray one."""

    canvas: "Canvas" = field(repr=False)
    patch: Patch
    bands: tuple[int, ...]

    @property
    def samples(self) -> NDArray[Any]:
        """What the network reads (h,w,len(bands)), a view where that is possible."""
        task = self.canvas.task
        read = self.patch.read.shift(task.window.read.top, task.window.read.left)
        cut = np.moveaxis(crop(task.pixels, read), 0, -1)
        return cut if len(self.bands) == cut.shape[-1] else cut[..., list(self.bands)]

    @property
    def encoding(self) -> Encoding:
        task = self.canvas.task
        ranges = task.ranges and tuple(task.ranges[band] for band in self.bands)
        return Encoding(str(task.pixels.dtype), ranges)

    @property
    def kept(self) -> Box:
        """The patch's core as seen from what it reads, in input pixels: it counts once."""
        return self.patch.core.shift(self.patch.read.top, self.patch.read.left)

    @property
    def keeps_all(self) -> bool:
        return self.patch.core == self.patch.read


class Canvas:
    """Collects the pieces of one window; exact tilings place them, the others blend them."""

    def __init__(self, task: WindowTask, scale: int) -> None:
        self.task = task
        self.scale = scale
        self.error: GanrayError | None = None
        self.trust = TrustMeter(task.pixels.shape[0])
        self.blends = task.grid.overlap > 0
        self._num_missing = 0

    def pieces(self) -> Iterator[Piece]:
        """Every patch of the colour, and of alpha apart, which is restored as gray."""
        bands = range(self.task.pixels.shape[0])
        colour = tuple(band for band in bands if band != self.task.alpha)
        parts = [colour] if self.task.alpha is None else [colour, (self.task.alpha,)]
        pieces = [
            Piece(self, patch, part)
            for patch in self.task.grid.patches(self.task.window.core)
            for part in parts
        ]
        self._num_missing = len(pieces)
        yield from pieces

    def open(self, device: torch.device) -> Tensor:
        """The window's pixels (scale·h,scale·w,C) on the device, made when first asked for."""
        if "_values" not in self.__dict__:
            core = self.task.window.core
            shape = core.height * self.scale, core.width * self.scale, self.task.pixels.shape[0]
            if self.blends:
                self._values = torch.zeros(shape, device=device)
            else:
                self._values = torch.empty(shape, dtype=self._encoding.stored_type, device=device)
        return self._values

    def place(self, piece: Piece, restored_HWC: Tensor, weights_HW1: Tensor | None) -> None:
        """Put a piece's result, of all that it read, where it belongs; with weights, add it."""
        core = self.task.window.core
        shown = piece.patch.reach.intersect(core)
        source = shown.shift(piece.patch.read.top, piece.patch.read.left).scale(self.scale)
        target = shown.shift(core.top, core.left).scale(self.scale)
        values = _cut(restored_HWC, source)
        place = _cut(self._values, target)
        reach = piece.patch.reach
        for into, result in self._bands(piece, place, values):
            if weights_HW1 is None:
                into.copy_(result)
            else:
                cut = shown.shift(reach.top, reach.left).scale(self.scale)
                into.addcmul_(_cut(weights_HW1, cut), result)

    def _bands(
        self, piece: Piece, place: Tensor, values: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if len(piece.bands) == place.shape[-1]:
            yield place, values
            return
        for index, band in enumerate(piece.bands):
            yield place[..., band : band + 1], values[..., index : index + 1]

    def count(self, piece: Piece, error: GanrayError | None = None) -> None:
        """Note that a piece is done; with an error the window has no result."""
        self._num_missing -= 1
        self.error = self.error or error

    @property
    def is_complete(self) -> bool:
        return self._num_missing == 0

    def finish(self) -> Tensor:
        """The stored values of the window, on the device; once it is complete."""
        values = self._values
        del self._values
        return self._encoding.to_stored(values) if self.blends else values

    @cached_property
    def _encoding(self) -> Encoding:
        return Encoding(str(self.task.pixels.dtype), self.task.ranges)

    def result(self, values_HWC: NDArray[Any] | None) -> RestoredWindow:
        """The finished window, from what `finish` gave."""
        if self.error is not None or values_HWC is None:
            return RestoredWindow(self.task, None, self.trust, self.error)
        stored = values_HWC.view(self.task.pixels.dtype)
        return RestoredWindow(self.task, np.moveaxis(stored, -1, 0), self.trust)


def _cut(values_HWC: Tensor, box: Box) -> Tensor:
    return values_HWC[box.top : box.bottom, box.left : box.right]


def not_finite() -> RestorationError:
    return RestorationError(
        "the generator gave values that are not finite, in float32 too; the input is not restored"
    )
