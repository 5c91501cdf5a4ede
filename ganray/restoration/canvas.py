"""One window in the making: it is cut into patches, and put together again from their results."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganray.errors import GanrayError, RestorationError
from ganray.raster.image import FloatPixels, Pixels, from_float, to_float
from ganray.raster.windows import Box, Grid, Patch, Window, blend_weights, crop
from ganray.restoration.guard import TrustMeter


@dataclass(frozen=True)
class WindowTask:
    """One window to restore: `pixels` (C,h,w) of `window.read`, in their stored type.

    `alpha` is the index of an alpha band. `token` is the caller's own and comes back with the
    result.
    """

    pixels: Pixels = field(repr=False)
    grid: Grid
    window: Window
    alpha: int | None = None
    token: Any = None


@dataclass(frozen=True)
class RestoredWindow:
    """A window's core (C,scale·h,scale·w) in the type of its input, or why there is none."""

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
    def pixels(self) -> Pixels:
        """What the network reads (len(bands),h,w), a view."""
        task = self.canvas.task
        read = self.patch.read.shift(task.window.read.top, task.window.read.left)
        return crop(task.pixels, read)[list(self.bands)]

    @property
    def kept(self) -> Box:
        """The patch's reach as seen from what it reads, in input pixels."""
        return self.patch.reach.shift(self.patch.read.top, self.patch.read.left)


class Canvas:
    """Collects the pieces of one window; exact tilings place them, the others blend them."""

    def __init__(self, task: WindowTask, scale: int) -> None:
        self.task = task
        self.scale = scale
        self.error: GanrayError | None = None
        self.trust = TrustMeter(task.pixels.shape[0])
        core = task.window.core
        shape = task.pixels.shape[0], core.height * scale, core.width * scale
        self.blends = task.grid.overlap > 0
        dtype = np.dtype(np.float32) if self.blends else task.pixels.dtype
        self._pixels: NDArray[Any] = (np.zeros if self.blends else np.empty)(shape, dtype)
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

    @property
    def is_complete(self) -> bool:
        return self._num_missing == 0

    def place(self, piece: Piece, restored: Pixels) -> None:
        """Add a piece's result (len(bands),scale·h,scale·w) over all that it read."""
        self._num_missing -= 1
        shown = piece.patch.reach.intersect(self.task.window.core)
        source = shown.shift(piece.patch.read.top, piece.patch.read.left).scale(self.scale)
        core = self.task.window.core
        target = shown.shift(core.top, core.left).scale(self.scale)
        values: NDArray[Any] = crop(restored, source)
        place = np.s_[list(piece.bands), target.top : target.bottom, target.left : target.right]
        if self.blends:
            weights = blend_weights(piece.patch, self.task.grid.overlap, self.scale)
            reach = piece.patch.reach
            cut = crop(weights[None], shown.shift(reach.top, reach.left).scale(self.scale))
            self._pixels[place] += cut * values
        else:
            self._pixels[place] = values

    def fail(self, piece: Piece, error: GanrayError) -> None:
        """Count a piece that has no result: the window has none either."""
        self._num_missing -= 1
        self.error = error

    def result(self) -> RestoredWindow:
        """The finished window."""
        if self.error is not None:
            return RestoredWindow(self.task, None, self.trust, self.error)
        if not self.blends:
            return RestoredWindow(self.task, self._pixels, self.trust)
        if not np.isfinite(self._pixels).all():
            return RestoredWindow(self.task, None, self.trust, not_finite())
        window = self.task.window
        core = window.core.shift(window.read.top, window.read.left)
        self.trust.add(as_float(crop(self.task.pixels, core)), self._pixels, self.scale)
        return RestoredWindow(self.task, as_dtype(self._pixels, self.task.pixels.dtype), self.trust)


def not_finite() -> RestorationError:
    return RestorationError(
        "the generator gave values that are not finite, in float32 too; the input is not restored"
    )


def as_float(pixels: Pixels) -> FloatPixels:
    """Stored pixels as float32 in 0-1; floats are taken as they are."""
    if np.issubdtype(pixels.dtype, np.floating):
        return pixels.astype(np.float32)
    return to_float(pixels)


def as_dtype(pixels: FloatPixels, dtype: np.dtype[Any]) -> Pixels:
    """Inverse of `as_float`, cut to 0-1."""
    if np.issubdtype(dtype, np.floating):
        return np.clip(pixels, 0, 1).astype(dtype)
    return from_float(pixels, str(dtype))
