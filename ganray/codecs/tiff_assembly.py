"""One large TIFF out of the runs of its windows, by a process that holds neither.

The file is written from its first byte to its last: directories, overviews from the smallest
to the largest, then the image itself, window by window, which the store copies. That is the
order of a Cloud Optimized GeoTIFF. Equal runs give equal files.
"""

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np

from ganray.codecs.tiff_overviews import SharedOverviews
from ganray.codecs.tiff_runs import LevelBytes, ReadRange, RunFooter, RunSource, read_footer
from ganray.codecs.tiff_tags import file_bytes, pack_file
from ganray.codecs.tiled_tiff import TiffLayout, directories
from ganray.errors import UndecodableError
from ganray.raster.windows import Box, place

CLASSIC_BYTES = 2**32 - 2**16
"""The largest classic TIFF; what would be larger becomes a BigTIFF."""

CHUNK_BYTES = 4 << 20
READS_AHEAD = 8

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Sink(Protocol):
    """A file that grows at its end."""

    def write(self, data: bytes) -> None:
        """Append bytes."""
        ...

    def copy(self, key: str, start: int, end: int) -> None:
        """Append the bytes [start, end) of another object."""
        ...


@dataclass(frozen=True)
class Part:
    """A piece of the file, by which the whole can be checked in little memory."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class AssembledTiff:
    """What was written: all that precedes the image's own tiles as one part, then one per window.

    `extras` are those of the runs, in order of windows.
    """

    num_bytes: int
    parts: tuple[Part, ...]
    extras: tuple[Mapping[str, Any], ...]


def assemble(
    layout: TiffLayout,
    runs: Sequence[RunSource],
    *,
    read: ReadRange,
    sink: Sink,
    classic_bytes: int = CLASSIC_BYTES,
) -> AssembledTiff:
    """Write the file of `layout`; `runs` are in order of windows, one for each.

    `read` is called from several threads. Memory is one row of windows at half the size of the
    last shared level, and a few chunks. Raises UndecodableError for a run that is damaged or
    out of place, before the sink could have been completed.
    """
    assert len(runs) == layout.num_windows, f"{len(runs)} runs for {layout.num_windows} windows"
    front = _Front(sink)
    with SharedOverviews(layout) as overviews:
        tables, footers = _survey(layout, runs, read, overviews)
        front.write(_header(layout, tables, classic_bytes))
        for level in range(len(layout.levels) - 1, layout.num_shared_levels, -1):
            for chunk in overviews.read(level, CHUNK_BYTES):
                front.write(chunk)
    for level in range(layout.num_shared_levels, 0, -1):
        for chunk in _read_level([footer.levels[level] for footer in footers], runs, read):
            front.write(chunk)
    assert front.num_bytes == tables[0].start, "the overviews are not where the header says"
    for run, footer in zip(runs, footers, strict=True):
        sink.copy(run.key, footer.levels[0].start, footer.levels[0].end)
    return AssembledTiff(
        num_bytes=tables[0].start + tables[0].num_bytes,
        parts=(front.part, *(Part(footer.levels[0].end, footer.sha256) for footer in footers)),
        extras=tuple(footer.extra for footer in footers),
    )


class _Front:
    """Writes to the sink, and keeps the length and checksum of what was written."""

    def __init__(self, sink: Sink) -> None:
        self.num_bytes = 0
        self._sink = sink
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._sink.write(data)
        self._sha256.update(data)
        self.num_bytes += len(data)

    @property
    def part(self) -> Part:
        return Part(self.num_bytes, self._sha256.hexdigest())


class _Table:
    """Where the tiles of a level stand: `offsets` count from `start`, the level's own."""

    def __init__(self, num_planes: int, grid: tuple[int, int]) -> None:
        self.start = 0
        self.num_bytes = 0
        self.offsets = np.zeros((num_planes, *grid), np.int64)
        self.byte_counts = np.zeros((num_planes, *grid), np.int64)

    def add(self, tiles: Box, tile_bytes: Sequence[int]) -> None:
        """Put tiles of one plane after the other behind those that are there already."""
        counts = np.array(tile_bytes, np.int64)
        ends = self.num_bytes + np.cumsum(counts)
        place(self.offsets, (ends - counts).reshape(-1, tiles.height, tiles.width), tiles)
        place(self.byte_counts, counts.reshape(-1, tiles.height, tiles.width), tiles)
        self.num_bytes = int(ends[-1])


def _survey(
    layout: TiffLayout, runs: Sequence[RunSource], read: ReadRange, overviews: SharedOverviews
) -> tuple[list[_Table], list[RunFooter]]:
    """Read all footers, once: where every tile will stand, and what remains to be known of runs."""

    def footer_of(index: int) -> RunFooter:
        return read_footer(layout, index, source=runs[index], read=read)

    levels = range(len(layout.levels))
    tables = [_Table(layout.num_planes, layout.tile_grid(level)) for level in levels]
    footers = []
    for index, footer in enumerate(_read_ahead(footer_of, range(len(runs)))):
        for level, tile_bytes in enumerate(footer.tile_bytes):
            tables[level].add(layout.window_tiles(index, level), tile_bytes)
        overviews.add(index, footer.rest)
        # An archive's worth of pixels and tile sizes is not to pile up here.
        footers.append(replace(footer, tile_bytes=(), rest=None))
    for level in range(layout.num_shared_levels + 1, len(layout.levels)):
        columns = layout.tile_grid(level)[1]
        for row, sizes in enumerate(overviews.tile_bytes(level)):
            tables[level].add(Box(row, 0, row + 1, columns), sizes)
    return tables, footers


def _header(layout: TiffLayout, tables: Sequence[_Table], classic_bytes: int) -> bytes:
    """The directories, whose length does not depend on the offsets in them; sets each start."""
    num_bytes = sum(table.num_bytes for table in tables)
    counts = [table.byte_counts for table in tables]
    classic = file_bytes(directories(layout, counts, counts, big=False), big=False)
    big = classic + num_bytes > classic_bytes
    start = file_bytes(directories(layout, counts, counts, big=True), big=True) if big else classic
    for table in reversed(tables):
        table.start = start
        start += table.num_bytes
    offsets = [table.start + table.offsets for table in tables]
    return pack_file(directories(layout, offsets, counts, big=big), big=big)


def _read_level(
    stretches: Sequence[LevelBytes], runs: Sequence[RunSource], read: ReadRange
) -> Iterator[bytes]:
    """One overview level of all windows in turn, in chunks, checked against its checksums."""

    def chunk_of(request: tuple[RunSource, LevelBytes, int]) -> bytes:
        run, stretch, start = request
        return read(run.key, start, min(start + CHUNK_BYTES, stretch.end))

    requests = [
        (run, stretch, start)
        for run, stretch in zip(runs, stretches, strict=True)
        for start in range(stretch.start, stretch.end, CHUNK_BYTES)
    ]
    crc = 0
    for (run, stretch, start), chunk in zip(requests, _read_ahead(chunk_of, requests), strict=True):
        crc = zlib.crc32(chunk, 0 if start == stretch.start else crc)
        yield chunk
        if start + CHUNK_BYTES >= stretch.end and crc != stretch.crc:
            raise UndecodableError(
                f"{run.key}: a damaged run: its overviews differ from their checksum; restore "
                "the window again"
            )


def _read_ahead(function: Callable[[ItemT], ResultT], items: Iterable[ItemT]) -> Iterator[ResultT]:
    """`map`, with a few calls under way at a time."""
    remaining = iter(items)
    with ThreadPoolExecutor(READS_AHEAD) as pool:
        pending = deque(pool.submit(function, item) for item in islice(remaining, READS_AHEAD))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result
