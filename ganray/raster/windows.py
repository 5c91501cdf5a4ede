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

    def grow(self, margin: int, within: "Box") -> "Box":
        """The box with a margin on every side, cut where `within` ends."""
        grown = Box(
            self.top - margin, self.left - margin, self.bottom + margin, self.right + margin
        )
        return grown.intersect(within)

    def intersect(self, other: "Box") -> "Box":
        """What both boxes cover; they must share a pixel."""
        return Box(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )


@dataclass(frozen=True)
class Patch:
    """What the network sees: `read` goes in, `reach` is kept.

    `core` is the patch's cell of the grid. Where patches overlap, `reach` goes beyond it into
    the neighbours' cells, and what several patches reach is blended.
    """

    core: Box
    reach: Box
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

    `patch_side` includes halo and overlap on both sides; `window_side` is rounded down to whole
    patch cores, and up to at least one. Patches reach `overlap` pixels into their neighbours.
    What a patch reads begins at a multiple of `alignment`, and is longer at an end of the image
    that is none.
    """

    height: int
    width: int
    halo: int
    patch_side: int
    window_side: int
    overlap: int = 0
    alignment: int = 1

    def __post_init__(self) -> None:
        if self.stride < max(1, 2 * self.overlap):
            raise ValueError(
                f"patch_side {self.patch_side} leaves no core in halo {self.halo} and overlap "
                f"{self.overlap}"
            )

    @property
    def stride(self) -> int:
        """Side of a patch core."""
        return self.patch_side - 2 * (self.halo + self.overlap)

    @property
    def window_stride(self) -> int:
        return max(1, self.window_side // self.stride) * self.stride

    @property
    def num_windows(self) -> int:
        rows = -(-self.height // self.window_stride)
        columns = -(-self.width // self.window_stride)
        return rows * columns

    @property
    def is_one_patch(self) -> bool:
        """Whether the generator sees the image whole, so that there is no seam."""
        return max(self.height, self.width) <= self.stride

    def windows(self) -> Iterator[Window]:
        """Windows whose cores cover every pixel of the image exactly once, row by row."""
        for index in range(self.num_windows):
            yield self.window(index)

    def window(self, index: int) -> Window:
        """The window of one number."""
        side = self.window_stride
        row, column = divmod(index, -(-self.width // side))
        bottom = min((row + 1) * side, self.height)
        right = min((column + 1) * side, self.width)
        core = Box(row * side, column * side, bottom, right)
        return Window(index, core, _hull([patch.read for patch in self.patches(core)]))

    def patches(self, core: Box) -> Iterator[Patch]:
        """Patches that reach into `core`; without overlap, their cores cover it once."""
        for top, bottom in self._cells(core.top, core.bottom, self.height):
            for left, right in self._cells(core.left, core.right, self.width):
                yield self._patch(Box(top, left, bottom, right))

    def _cells(self, start: int, stop: int, length: int) -> Iterator[tuple[int, int]]:
        """Spans of the patch grid that, grown by the overlap, meet [start, stop)."""
        first = max(0, start - self.overlap) // self.stride * self.stride
        for begin in range(first, min(stop + self.overlap, length), self.stride):
            yield begin, min(begin + self.stride, length)

    def _patch(self, core: Box) -> Patch:
        top, bottom = self._read_span(core.top, self.height)
        left, right = self._read_span(core.left, self.width)
        reach = core.grow(self.overlap, Box(0, 0, self.height, self.width))
        return Patch(core, reach, Box(top, left, bottom, right))

    def _read_span(self, start: int, length: int) -> tuple[int, int]:
        """A span of `patch_side` that holds the core at `start` with its halo, inside the image."""
        begin = max(0, min(start - self.halo - self.overlap, length - self.patch_side))
        end = min(begin + self.patch_side, length)
        return begin // self.alignment * self.alignment, end


def blend_weights(patch: Patch, overlap: int, scale: int) -> NDArray[np.float32]:
    """Weights (scale·h,scale·w) of a patch over its reach.

    Linear ramps across each border that is shared with a neighbour; the weights of all patches
    that reach a pixel add up to one.
    """
    core, reach = patch.core, patch.reach
    rows = _ramp(core.top, core.bottom, reach.top, reach.bottom, overlap, scale)
    columns = _ramp(core.left, core.right, reach.left, reach.right, overlap, scale)
    weights: NDArray[np.float32] = np.outer(rows, columns).astype(np.float32)
    return weights


def _ramp(
    start: int, stop: int, reach_start: int, reach_stop: int, overlap: int, scale: int
) -> NDArray[np.float64]:
    centres = reach_start + (np.arange((reach_stop - reach_start) * scale) + 0.5) / scale
    weights = np.ones_like(centres)
    if reach_start < start:
        weights = np.minimum(weights, (centres - start + overlap) / (2 * overlap))
    if reach_stop > stop:
        weights = np.minimum(weights, (stop + overlap - centres) / (2 * overlap))
    return weights


def crop(pixels: NDArray[ScalarT], box: Box) -> NDArray[ScalarT]:
    """The view of (C,H,W) pixels inside `box`."""
    return pixels[:, box.top : box.bottom, box.left : box.right]


def place(target: NDArray[ScalarT], pixels: NDArray[ScalarT], box: Box) -> None:
    """Write (C,H,W) pixels into `target` at `box`."""
    target[:, box.top : box.bottom, box.left : box.right] = pixels


def _hull(boxes: list[Box]) -> Box:
    return Box(
        min(box.top for box in boxes),
        min(box.left for box in boxes),
        max(box.bottom for box in boxes),
        max(box.right for box in boxes),
    )
