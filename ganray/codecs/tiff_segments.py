"""Where the tiles or strips of a TIFF stand; what the file claims of them is checked once.

Missing tiles are refused: a photograph has none, and what is missing would become black.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ganray.codecs.tiff_directories import TagValues
from ganray.codecs.tiff_samples import NO_COMPRESSION, Samples
from ganray.codecs.tiff_tags import Code
from ganray.errors import UndecodableError, UnsupportedImageError
from ganray.raster.windows import Box

MAX_SEGMENT_BYTES = 256 << 20
"""The largest tile or strip once decoded: reading one pixel of it takes as much memory."""

PLAIN_STRIP_BYTES = 1 << 20
"""Longer strips are read in pieces of at most this size, or a row, if they are not compressed."""


@dataclass(frozen=True)
class Segment:
    """A tile or strip: its bytes [start, end) in the file and its pixels inside the image.

    `band` is the one that it holds, None if it holds all. `num_rows` are those that it stores.
    """

    start: int
    end: int
    box: Box
    band: int | None
    num_rows: int


@dataclass(frozen=True)
class Segments:
    """All tiles or strips of an image; a strip is as wide as the image.

    `starts` and `ends` are (bands that are apart, rows, columns) of segments.
    """

    image_height: int
    image_width: int
    height: int
    width: int
    are_tiles: bool
    starts: NDArray[np.int64] = field(repr=False)
    ends: NDArray[np.int64] = field(repr=False)

    def within(self, box: Box) -> Iterator[Segment]:
        """The segments that hold pixels of `box`."""
        rows = range(box.top // self.height, -(-box.bottom // self.height))
        columns = range(box.left // self.width, -(-box.right // self.width))
        num_planes = self.starts.shape[0]
        for plane in range(num_planes):
            band = plane if num_planes > 1 else None
            for row in rows:
                for column in columns:
                    yield self._segment(plane, row, column, band)

    def num_rows(self) -> NDArray[np.int64]:
        """Rows that the segments of each row of segments store: only a strip is ever cut."""
        tops = np.arange(0, self.image_height, self.height, dtype=np.int64)
        left = self.image_height - tops
        return np.full_like(tops, self.height) if self.are_tiles else np.minimum(left, self.height)

    def _segment(self, plane: int, row: int, column: int, band: int | None) -> Segment:
        top, left = row * self.height, column * self.width
        bottom = min(top + self.height, self.image_height)
        box = Box(top, left, bottom, min(left + self.width, self.image_width))
        return Segment(
            start=int(self.starts[plane, row, column]),
            end=int(self.ends[plane, row, column]),
            box=box,
            band=band,
            num_rows=self.height if self.are_tiles else box.height,
        )


def parse_segments(values: TagValues, samples: Samples, num_bytes: int) -> Segments:
    """Read the tables of tiles or strips in a file of `num_bytes`.

    Raises UndecodableError, or UnsupportedImageError if a strip is too large.
    """
    segments, grid = _without_tables(values, samples)
    codes = Code.STRIP_OFFSETS, Code.STRIP_BYTE_COUNTS
    if Code.TILE_OFFSETS in values:
        codes = Code.TILE_OFFSETS, Code.TILE_BYTE_COUNTS
    starts = _table(values, codes[0], grid)
    plain = samples.compression == NO_COMPRESSION
    splittable = plain and not segments.are_tiles
    _check_size(segments, samples, num_rows=1 if splittable else segments.height)
    # Only now are sizes known to be small enough to be multiplied in 64 bits.
    row_bytes = segments.width * samples.pixel_bytes
    decoded = np.broadcast_to(segments.num_rows()[:, np.newaxis] * row_bytes, grid)
    counts = decoded if plain and codes[1] not in values else _table(values, codes[1], grid)
    _check_counts(counts, decoded, plain=plain)
    # Some writers count more than there is; of what is not compressed, no more is read.
    ends = starts + (decoded if plain else counts)
    _check_present(starts, ends, num_bytes)
    segments = replace(segments, starts=starts, ends=ends)
    return _split_strips(segments, samples) if splittable else segments


def _without_tables(values: TagValues, samples: Samples) -> tuple[Segments, tuple[int, int, int]]:
    """The segments, and how many there are of them in each direction."""
    height, width = values.positive(Code.HEIGHT), values.positive(Code.WIDTH)
    are_tiles = Code.TILE_WIDTH in values
    if are_tiles:
        down, across = values.positive(Code.TILE_HEIGHT), values.positive(Code.TILE_WIDTH)
    else:
        down, across = min(height, values.positive(Code.ROWS_PER_STRIP, height)), width
    unknown = np.empty((0, 0, 0), np.int64)
    segments = Segments(height, width, down, across, are_tiles, unknown, unknown)
    num_planes = len(samples.bands) if samples.are_apart else 1
    return segments, (num_planes, -(-height // down), -(-width // across))


def _table(values: TagValues, code: int, grid: tuple[int, int, int]) -> NDArray[np.int64]:
    table = values.all(code)
    if table.size != grid[0] * grid[1] * grid[2]:
        raise UndecodableError(
            f"a TIFF with {table.size} tiles or strips in tag {code}; expected "
            f"{grid[0] * grid[1] * grid[2]}"
        )
    return table.reshape(grid)


def _check_present(starts: NDArray[np.int64], ends: NDArray[np.int64], num_bytes: int) -> None:
    missing = int(np.count_nonzero((starts == 0) | (ends == starts)))
    if missing:
        raise UndecodableError(
            f"{missing} of {starts.size} tiles or strips are missing from the TIFF; expected all"
        )
    # Of a start near the largest integer, the end has wrapped round.
    behind = int(np.count_nonzero((starts > num_bytes) | (ends > num_bytes)))
    if behind:
        raise UndecodableError(
            f"{behind} of {starts.size} tiles or strips lie behind the end of the file, at "
            f"{num_bytes} bytes: damaged or truncated"
        )


def _check_counts(counts: NDArray[np.int64], decoded: NDArray[np.int64], *, plain: bool) -> None:
    if plain and np.any(counts < decoded):
        raise UndecodableError("TIFF tiles or strips that are shorter than their pixels: damaged")
    # No compression makes data twice as large, but for a header.
    if not plain and np.any(counts > 2 * decoded + (1 << 20)):
        raise UndecodableError("a TIFF with far more compressed data than pixels: damaged")


def _check_size(segments: Segments, samples: Samples, *, num_rows: int) -> None:
    """Refuse segments, of which that many rows are read at once, that need much memory."""
    decoded = num_rows * segments.width * samples.pixel_bytes
    if decoded > MAX_SEGMENT_BYTES:
        kind = UndecodableError if segments.are_tiles else UnsupportedImageError
        raise kind(
            f"a TIFF in {'tiles' if segments.are_tiles else 'strips'} of {decoded} bytes; expected "
            f"at most {MAX_SEGMENT_BYTES}; save it in tiles of 512 pixels first"
        )


def _split_strips(segments: Segments, samples: Samples) -> Segments:
    """The same rows in shorter strips, so that a window does not cost the whole image."""
    row_bytes = segments.width * samples.pixel_bytes
    most = max(1, PLAIN_STRIP_BYTES // row_bytes)
    if segments.height <= most:
        return segments
    if segments.starts.shape[1] > 1:
        # Only a divisor keeps the pieces of all strips in step.
        most = next(rows for rows in range(most, 0, -1) if segments.height % rows == 0)
    tops = np.arange(0, segments.image_height, most, dtype=np.int64)
    strips, inside = np.divmod(tops, segments.height)
    starts = segments.starts[:, strips, :] + (inside * row_bytes)[:, np.newaxis]
    split = replace(segments, height=most, starts=starts)
    return replace(split, ends=starts + (split.num_rows() * row_bytes)[:, np.newaxis])
