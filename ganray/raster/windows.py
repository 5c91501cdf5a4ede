"""The geometry of tiled restoration: boxes, patches and windows, in input pixels.

The patch grid is anchored on the image: a patch keeps its core whatever window it falls
in, and patches at a border are moved inwards rather than padded, so that the generator
sees the true border. Nothing here touches a pixel except `crop` and `place`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(frozen=True)
class Box:
    """A half-open rectangle in pixels."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def num_pixels(self) -> int:
        return self.height * self.width

    def shift(self, top: int, left: int) -> "Box":
        """The same box seen from an origin at (top, left)."""
        return Box(self.top - top, self.left - left, self.bottom - top, self.right - left)

    def scale(self, factor: int) -> "Box":
        """The box that this one covers after magnification by `factor`."""
        return Box(self.top * factor, self.left * factor, self.bottom * factor, self.right * factor)


@dataclass(frozen=True)
class Patch:
    """What the network sees: `read` goes in, `core` is kept."""

    core: Box
    read: Box


@dataclass(frozen=True)
class Window:
    """The unit that is read, restored, written and recorded: whole patch cores with their halo."""

    index: int
    core: Box
    read: Box


@dataclass(frozen=True)
class Grid:
    """Patches of one shape over one image, grouped into windows.

    `patch_side` includes the halo on both sides; `window_side` is rounded down to whole
    patch cores, and up to at least one.
    """

    height: int
    width: int
    halo: int
    patch_side: int
    window_side: int

    def __post_init__(self) -> None:
        if self.patch_side <= 2 * self.halo:
            raise ValueError(f"patch_side {self.patch_side} leaves no core in halo {self.halo}")

    @property
    def stride(self) -> int:
        """Side of a patch core."""
        return self.patch_side - 2 * self.halo

    @property
    def window_stride(self) -> int:
        return max(1, self.window_side // self.stride) * self.stride

    @property
    def num_windows(self) -> int:
        rows = -(-self.height // self.window_stride)
        columns = -(-self.width // self.window_stride)
        return rows * columns

    def windows(self) -> Iterator[Window]:
        """Windows whose cores cover every pixel of the image exactly once, row by row."""
        index = 0
        for top, bottom in _steps(0, self.height, self.window_stride):
            for left, right in _steps(0, self.width, self.window_stride):
                core = Box(top, left, bottom, right)
                reads = [patch.read for patch in self.patches(core)]
                yield Window(index, core, _hull(reads))
                index += 1

    def patches(self, core: Box) -> Iterator[Patch]:
        """Patches whose cores cover `core`, a box that begins on the patch grid, once."""
        for top, bottom in _steps(core.top, core.bottom, self.stride):
            read_top, read_bottom = self._read_span(top, self.height)
            for left, right in _steps(core.left, core.right, self.stride):
                read_left, read_right = self._read_span(left, self.width)
                read = Box(read_top, read_left, read_bottom, read_right)
                yield Patch(Box(top, left, bottom, right), read)

    def _read_span(self, start: int, length: int) -> tuple[int, int]:
        """A span of `patch_side` that holds the core at `start` with its halo, inside the image."""
        side = min(self.patch_side, length)
        begin = max(0, min(start - self.halo, length - side))
        return begin, begin + side


def crop(pixels: NDArray[ScalarT], box: Box) -> NDArray[ScalarT]:
    """The view of (C,H,W) pixels inside `box`."""
    return pixels[:, box.top : box.bottom, box.left : box.right]


def place(target: NDArray[ScalarT], pixels: NDArray[ScalarT], box: Box) -> None:
    """Write (C,H,W) pixels into `target` at `box`."""
    target[:, box.top : box.bottom, box.left : box.right] = pixels


def _steps(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    for begin in range(start, stop, step):
        yield begin, min(begin + step, stop)


def _hull(boxes: list[Box]) -> Box:
    return Box(
        min(box.top for box in boxes),
        min(box.left for box in boxes),
        max(box.bottom for box in boxes),
        max(box.right for box in boxes),
    )
