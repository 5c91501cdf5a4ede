"""One window in the making: it is cut into patches, and put together again on the device."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganray.errors import GanrayError, RestorationError
from ganray.raster.image import Pixels
from ganray.raster.ranges import ValueRanges
from ganray.raster.windows import Box, Grid, Patch, Window, crop
from ganray.restoration.generator import Encoding
from ganray.restoration.guard import TrustMeter

STRIP = 256
"""Rows of a blended window that are rounded at once."""


@dataclass(frozen=True)
class Part:
    """Bands that a generator sees together; or that only become larger, by interpolation or by
    repetition."""

    bands: tuple[int, ...]
    treatment: Literal["restore", "magnify", "repeat"] = "restore"


@dataclass(frozen=True)
class WindowTask:
    """One window to restore: `pixels` (C,h,w) of `window.read`, in their stored type.

    `parts` are its bands; without them all are restored together, but for one of the index
    `alpha`, which is restored as gray. `ranges` are those of `Encoding`, one per band. `token` is
    the caller's own and comes back with the result. `mask` (h,w), true where a pixel is lost, is
    for generators that take one.
    """

    pixels: Pixels = field(repr=False)
    grid: Grid
    window: Window
    alpha: int | None = None
    token: Any = None
    ranges: ValueRanges | None = None
    parts: tuple[Part, ...] = ()
    mask: NDArray[np.bool_] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class RestoredWindow:
    """A window's core (C,scale·h,scale·w) in the type of its input, or why there is none.

    All bands of a pixel lie side by side in memory, as encoders want them.
    """

    task: WindowTask
    pixels: Pixels | None = field(repr=False)
    trust: TrustMeter
    error: GanrayError | None = None


@dataclass(frozen=True)
class Piece:
    """A patch of a canvas on its way through the generator: some bands of it."""

    canvas: "Canvas" = field(repr=False)
    patch: Patch
    part: Part

    @property
    def bands(self) -> tuple[int, ...]:
        return self.part.bands

    @property
    def samples(self) -> NDArray[Any]:
        """What the network reads (h,w,len(bands)), a view where that is possible; any mask last."""
        task = self.canvas.task
        read = self.patch.read.shift(task.window.read.top, task.window.read.left)
        cut = np.moveaxis(crop(task.pixels, read), 0, -1)
        is_whole = self.bands == tuple(range(cut.shape[-1]))
        samples = cut if is_whole else cut[..., list(self.bands)]
        if self._mask is None:
            return samples
        mask = np.moveaxis(crop(self._mask, read), 0, -1)
        return np.concatenate([samples, mask.astype(samples.dtype)], -1)

    @property
    def _mask(self) -> NDArray[np.bool_] | None:
        """The window's mask (1,h,w), for bands that are restored."""
        mask = self.canvas.task.mask
        return None if mask is None or self.part.treatment != "restore" else mask[None]

    @property
    def num_compared(self) -> int:
        """Pixels that the input has and the result is compared with: what counts, but for what is
        lost."""
        if self._mask is None:
            return self.kept.num_pixels
        corner = self.canvas.task.window.read
        return int((~crop(self._mask, self.patch.core.shift(corner.top, corner.left))).sum())

    @property
    def encoding(self) -> Encoding:
        task = self.canvas.task
        ranges = task.ranges and tuple(task.ranges[band] for band in self.bands)
        return Encoding(str(task.pixels.dtype), ranges)

    @property
    def counts(self) -> bool:
        """Whether the trust figures are of this piece too: not where it only reaches in from a
        neighbouring window, whose figures have it."""
        core, window = self.patch.core, self.canvas.task.window.core
        return (
            core.top < window.bottom
            and core.bottom > window.top
            and core.left < window.right
            and core.right > window.left
        )

    @property
    def kept(self) -> Box:
        """The patch's core as seen from what it reads, in input pixels: what counts, once."""
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
        self._values: Tensor | None = None

    def pieces(self) -> Iterator[Piece]:
        """Every patch, part by part."""
        parts = self.task.parts or _colour_and_alpha(self.task)
        pieces = [
            Piece(self, patch, part)
            for patch in self.task.grid.patches(self.task.window.core)
            for part in parts
        ]
        self._num_missing = len(pieces)
        yield from pieces

    def open(self, device: torch.device) -> None:
        """Take the device's memory for the window's pixels (scale·h,scale·w,C), once."""
        if self._values is not None:
            return
        core = self.task.window.core
        shape = core.height * self.scale, core.width * self.scale, self.task.pixels.shape[0]
        if self.blends:
            self._values = torch.zeros(shape, device=device)
        else:
            self._values = torch.empty(shape, dtype=self._encoding.stored_type, device=device)

    def place(self, piece: Piece, restored_HWC: Tensor, weights_HW1: Tensor | None) -> None:
        """Put a piece's result, of all that it read, where it belongs; with weights, add it."""
        assert self._values is not None
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
        if piece.bands == tuple(range(place.shape[-1])):
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
        """The stored values of the window, on the device, once it is complete: strip by strip,
        since rounding takes several times the memory of its result."""
        assert self._values is not None
        if not self.blends:
            return self._values
        stored = torch.empty_like(self._values, dtype=self._encoding.stored_type)
        for into, values in zip(stored.split(STRIP), self._values.split(STRIP), strict=True):
            into.copy_(self._encoding.to_stored(values))
        return stored

    def release(self) -> None:
        """Let go of the device's memory."""
        self._values = None

    @cached_property
    def _encoding(self) -> Encoding:
        return Encoding(str(self.task.pixels.dtype), self.task.ranges)

    def result(self, values_HWC: NDArray[Any] | None) -> RestoredWindow:
        """The finished window, from what `finish` gave."""
        self.release()
        if self.error is not None or values_HWC is None:
            return RestoredWindow(self.task, None, self.trust, self.error)
        stored = values_HWC.view(self.task.pixels.dtype)
        return RestoredWindow(self.task, np.moveaxis(stored, -1, 0), self.trust)


def _colour_and_alpha(task: WindowTask) -> tuple[Part, ...]:
    colour = tuple(band for band in range(task.pixels.shape[0]) if band != task.alpha)
    return (Part(colour),) if task.alpha is None else (Part(colour), Part((task.alpha,)))


def _cut(values_HWC: Tensor, box: Box) -> Tensor:
    return values_HWC[box.top : box.bottom, box.left : box.right]


def not_finite() -> RestorationError:
    return RestorationError(
        "the generator gave values that are not finite, in float32 too; the input is not restored"
    )
