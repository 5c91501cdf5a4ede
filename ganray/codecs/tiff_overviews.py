"""The overviews that reach over windows, built row by row from what the windows left of theirs.

One row of tiles per level is in memory, and one row of windows of the first level. Encoded
tiles wait in temporary files, since the smallest overview comes first in the file and is
finished last.
"""

import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np

from ganray.codecs.tiff_tiles import encode_mask_tile, encode_tile, halve_masked
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.raster.image import Pixels
from ganray.raster.validity import MaskedPixels, unstack
from ganray.raster.windows import Box, place

SPOOL_BYTES = 4 << 20
"""What a level may hold in memory before it goes to a temporary file."""


class SharedOverviews:
    """Takes windows in order, and makes the levels above the shared ones.

    A context manager; the tiles of a level are complete when the last window is in.
    """

    def __init__(self, layout: TiffLayout) -> None:
        self._layout = layout
        first = layout.num_shared_levels + 1
        self._levels = {n: _Level(layout, n) for n in range(first, len(layout.levels))}
        self._first = first
        self._band: Pixels | None = None
        """Pixels, and the mask as one more of the bands."""

    def __enter__(self) -> "SharedOverviews":
        return self

    def __exit__(self, *_: object) -> None:
        for level in self._levels.values():
            level.spool.close()

    def add(self, index: int, rest: MaskedPixels | None) -> None:
        """Take the next window's pixels on the first of these levels, None if there are none."""
        if rest is None:
            return
        box = self._layout.window_box(index, self._first)
        width = self._layout.levels[self._first][1]
        if self._band is None:
            num_bands = self._layout.num_bands + self._layout.has_mask
            self._band = np.empty((num_bands, box.height, width), self._layout.dtype)
        place(self._band, rest.stack(), box.shift(box.top, 0))
        if box.right == width:
            self._push(self._first, self._band)
            self._band = None

    def tile_bytes(self, level: int) -> list[list[int]]:
        """Byte counts of a level's tiles, for each row: the image's, then its mask's."""
        return self._levels[level].tile_bytes

    def read(self, level: int, chunk_bytes: int) -> Iterator[bytes]:
        """The tiles of a level, in chunks."""
        spool = self._levels[level].spool
        spool.seek(0)
        while chunk := spool.read(chunk_bytes):
            yield chunk

    def _push(self, number: int, rows: Pixels) -> None:
        """Give the next rows to a level, and half of each row of tiles to the level above."""
        level = self._levels[number]
        for band in level.fill(rows):
            image = unstack(band, has_mask=self._layout.has_mask)
            level.store(image)
            if number + 1 in self._levels:
                self._push(number + 1, halve_masked(image, self._layout.validity).stack())


class _Level:
    """One level on its way: the row of tiles that is being filled, and those that are encoded."""

    def __init__(self, layout: TiffLayout, number: int) -> None:
        self.tile_bytes: list[list[int]] = []
        self.spool: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
        self._layout = layout
        self._missing, width = layout.levels[number]
        num_bands = layout.num_bands + layout.has_mask
        self._rows = np.empty((num_bands, layout.tile_side, width), layout.dtype)
        self._filled = 0

    def fill(self, rows: Pixels) -> Iterator[Pixels]:
        """Yield every row of tiles that these rows complete; the last one may be lower."""
        while rows.shape[1]:
            taken = rows[:, : self._rows.shape[1] - self._filled]
            self._rows[:, self._filled : self._filled + taken.shape[1]] = taken
            self._filled += taken.shape[1]
            self._missing -= taken.shape[1]
            rows = rows[:, taken.shape[1] :]
            if self._filled == self._rows.shape[1] or not self._missing:
                yield self._rows[:, : self._filled]
                self._filled = 0

    def store(self, image: MaskedPixels) -> None:
        """Encode one row of tiles."""
        side, compression = self._layout.tile_side, self._layout.compression
        _, height, width = image.pixels.shape
        lefts = range(0, width, side)
        pieces = [image.crop(Box(0, x, height, min(x + side, width))) for x in lefts]
        tiles = [encode_tile(piece.pixels, side, compression) for piece in pieces]
        masks = [piece.mask for piece in pieces if piece.mask is not None]
        tiles += [encode_mask_tile(mask, side, compression) for mask in masks]
        self.tile_bytes.append([len(tile) for tile in tiles])
        self.spool.writelines(tiles)
