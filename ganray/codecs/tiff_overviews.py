"""The overviews that reach over windows, built row by row from what the windows left of theirs.

One row of tiles per level is in memory, and one row of windows of the first level. Encoded
tiles wait in temporary files, since the smallest overview comes first in the file and is
finished last.
"""

import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np

from ganray.codecs.tiff_tiles import encode_tile, halve
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.raster.image import Pixels
from ganray.raster.windows import Box, crop, place

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

    def __enter__(self) -> "SharedOverviews":
        return self

    def __exit__(self, *_: object) -> None:
        for level in self._levels.values():
            level.spool.close()

    def add(self, index: int, pixels: Pixels | None) -> None:
        """Take the next window's pixels on the first of these levels, None if there are none."""
        if pixels is None:
            return
        box = self._layout.window_box(index, self._first)
        width = self._layout.levels[self._first][1]
        if self._band is None:
            self._band = np.empty((self._layout.num_bands, box.height, width), self._layout.dtype)
        place(self._band, pixels, box.shift(box.top, 0))
        if box.right == width:
            self._push(self._first, self._band)
            self._band = None

    def tile_bytes(self, level: int) -> list[int]:
        """Byte counts of a level's tiles, row by row."""
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
            level.store(band)
            if number + 1 in self._levels:
                self._push(number + 1, halve(band))


class _Level:
    """One level on its way: the row of tiles that is being filled, and those that are encoded."""

    def __init__(self, layout: TiffLayout, number: int) -> None:
        self.tile_bytes: list[int] = []
        self.spool: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
        self._layout = layout
        self._missing, width = layout.levels[number]
        self._rows = np.empty((layout.num_bands, layout.tile_side, width), layout.dtype)
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

    def store(self, band: Pixels) -> None:
        """Encode one row of tiles."""
        side = self._layout.tile_side
        for left in range(0, band.shape[2], side):
            box = Box(0, left, band.shape[1], min(left + side, band.shape[2]))
            tile = encode_tile(crop(band, box), side, self._layout.compression)
            self.tile_bytes.append(len(tile))
            self.spool.write(tile)
