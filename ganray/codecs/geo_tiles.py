"""Where the tiles or strips of a GeoTIFF stand, and whether they are all there.

GDAL finds the end of a truncated file when it comes to it, and gives what is missing as zeros if
the file says that nothing was written there. Both are found here, before any pixel is read.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ganray.codecs.geo_file import Plan
from ganray.codecs.tiff_directories import TagValues
from ganray.codecs.tiff_samples import DEFLATE, JPEG, NO_COMPRESSION, OLD_DEFLATE
from ganray.codecs.tiff_segments import Segments
from ganray.codecs.tiff_tags import Code
from ganray.errors import TooLargeError, UndecodableError
from ganray.raster.windows import Box

# The end of deflated data, and what its writer may have counted too much.
_CHECKSUM_BYTES = 8
_END_OF_JPEG = b"\xff\xd9"


MAX_SEGMENT_BYTES = 256 << 20
"""The largest tile or strip once decoded: reading one pixel of it takes as much memory."""


def parse_tables(values: TagValues) -> Segments:
    """The tables of a directory's tiles or strips. Raises UndecodableError or TooLargeError."""
    height, width = values.positive(Code.HEIGHT), values.positive(Code.WIDTH)
    are_tiles = Code.TILE_WIDTH in values
    if are_tiles:
        down, across = values.positive(Code.TILE_HEIGHT), values.positive(Code.TILE_WIDTH)
        codes = Code.TILE_OFFSETS, Code.TILE_BYTE_COUNTS
    else:
        down, across = min(height, values.positive(Code.ROWS_PER_STRIP, height)), width
        codes = Code.STRIP_OFFSETS, Code.STRIP_BYTE_COUNTS
    are_apart = values.number(Code.PLANAR_CONFIGURATION, 1) == 2
    num_planes = values.positive(Code.SAMPLES_PER_PIXEL, 1) if are_apart else 1
    # GDAL reads a strip that is not compressed row by row.
    is_split = _is_plain(values) and not are_tiles
    _check_size((1 if is_split else down) * _row_bytes(values, across, num_planes))
    grid = num_planes, -(-height // down), -(-width // across)
    starts = _table(values, codes[0], grid)
    segments = Segments(height, width, down, across, are_tiles, starts, starts)
    counts = _counts(values, codes[1], segments)
    return Segments(height, width, down, across, are_tiles, starts, starts + counts)


def check_complete(segments: Segments) -> None:
    """Refuse a file that lacks tiles, if nothing in it says that what is missing has no value.

    Raises UndecodableError.
    """
    num_missing = int(np.count_nonzero(_missing(segments)))
    if num_missing:
        raise UndecodableError(
            f"{num_missing} of {segments.starts.size} tiles or strips are missing, and no nodata "
            "value, mask or alpha says that nothing was there: damaged, or set nodata first"
        )


def check_present(segments: Segments, num_bytes: int) -> None:
    """Refuse a file that ends before its tiles do. Raises UndecodableError."""
    behind = ~_missing(segments) & ((segments.ends > num_bytes) | (segments.ends < segments.starts))
    if behind.any():
        raise UndecodableError(
            f"{int(np.count_nonzero(behind))} of {behind.size} tiles or strips lie behind the end "
            f"of the file, at {num_bytes} bytes: damaged or truncated"
        )


def plan_reading(segments: Segments, box: Box) -> Plan:
    """What is to be read for a box."""
    ranges = [(segment.start, segment.end) for segment in segments.within(box)]
    present = [(start, end) for start, end in ranges if end > start > 0]
    return Plan(present, joined=not segments.are_tiles)


def check_ends(values: TagValues, tails: Iterable[bytes]) -> None:
    """Refuse tiles or strips that break off, which their decoders do not report.

    Raises UndecodableError.
    """
    compression = values.number(Code.COMPRESSION, NO_COMPRESSION)
    for tail in tails:
        if compression == JPEG and not tail.rstrip(b"\0").endswith(_END_OF_JPEG):
            raise UndecodableError("a JPEG in a TIFF that does not end: damaged or truncated")
        if compression in (DEFLATE, OLD_DEFLATE) and not any(tail[-_CHECKSUM_BYTES:]):
            raise UndecodableError("a tile or strip that ends in zeros: damaged or truncated")


def _table(values: TagValues, code: int, grid: tuple[int, int, int]) -> NDArray[np.int64]:
    table = values.all(code)
    expected = grid[0] * grid[1] * grid[2]
    if table.size != expected:
        raise UndecodableError(
            f"a TIFF with {table.size} tiles or strips in tag {code}; expected {expected}"
        )
    return table.reshape(grid)


def _counts(values: TagValues, code: int, segments: Segments) -> NDArray[np.int64]:
    """Bytes of each tile or strip; of what is not compressed no more than its pixels take."""
    plain = _is_plain(values)
    row_bytes = _row_bytes(values, segments.width, segments.starts.shape[0])
    decoded = segments.num_rows()[np.newaxis, :, np.newaxis] * row_bytes
    if plain and code not in values:
        return np.broadcast_to(decoded, segments.starts.shape)
    counts = _table(values, code, segments.starts.shape)
    return np.minimum(counts, decoded) if plain else counts


def _is_plain(values: TagValues) -> bool:
    return values.number(Code.COMPRESSION, NO_COMPRESSION) == NO_COMPRESSION


def _row_bytes(values: TagValues, width: int, num_planes: int) -> int:
    """Bytes of a row of a tile or strip, decoded."""
    num_bands = 1 if num_planes > 1 else values.positive(Code.SAMPLES_PER_PIXEL, 1)
    return -(-width * num_bands * values.for_bands(Code.BITS_PER_SAMPLE, 1)[0] // 8)


def _check_size(num_bytes: int) -> None:
    if num_bytes > MAX_SEGMENT_BYTES:
        raise TooLargeError(
            f"tiles or strips of {num_bytes} bytes; expected at most {MAX_SEGMENT_BYTES}; save it "
            "in tiles of 512 pixels first"
        )


def _missing(segments: Segments) -> NDArray[np.bool_]:
    missing: NDArray[np.bool_] = (segments.starts == 0) | (segments.ends == segments.starts)
    return missing
