"""An object of a store as a file that GDAL reads: by ranges, with the store's own retries.

GDAL sees this one file and nothing beside it. An error of the store cannot pass through GDAL,
which takes it for the end of the file: it waits in `failure` until GDAL has returned.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from ganray.codecs.store_blocks import GAP_BYTES, REQUEST_BYTES, StoreBlocks

NAME = "raster.tif"
"""What GDAL knows the object by: a key may hold characters that mean something to GDAL."""


class StoreOpener:
    """What rasterio asks for files; a `MultiByteRangeResourceContainer` of rasterio's."""

    def __init__(self, blocks: StoreBlocks) -> None:
        self.blocks = blocks
        self.failure: Exception | None = None
        self.fetched = Fetched()

    def open(self, path: str, mode: str = "r", **_: object) -> "StoreFile":
        if not self.isfile(path) or not mode.startswith("r"):
            raise FileNotFoundError(path)
        return StoreFile(self)

    def isfile(self, path: str) -> bool:
        return path == NAME

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return [NAME]

    def mtime(self, path: str) -> int:
        return 0

    def size(self, path: str) -> int:
        if not self.isfile(path):
            raise FileNotFoundError(path)
        return self.blocks.num_bytes

    def rm(self, path: str) -> None:
        raise PermissionError(path)

    def read(self, start: int, end: int) -> bytes:
        """The bytes [start, end), fewer where the file ends or the store has failed."""
        return self._attempt(partial(self.blocks.read, start, end), start)

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each range; close ones come with one request."""
        found = [b""] * len(ranges)
        for group in _grouped(ranges):
            start, end = ranges[group[0]][0], max(ranges[number][1] for number in group)
            data = self._attempt(partial(self.blocks.read_range, start, end), start)
            for number in group:
                found[number] = data[ranges[number][0] - start : ranges[number][1] - start]
        return found

    def _attempt(self, read: Callable[[], bytes], start: int) -> bytes:
        """What is read, or nothing once the store has failed: GDAL must come to an end first."""
        if self.failure is not None:
            return b""
        try:
            data = read()
        except Exception as error:
            self.failure = error
            return b""
        self.fetched.add(start, data)
        return data


class StoreFile:
    """One of GDAL's positions in the file."""

    def __init__(self, opener: StoreOpener) -> None:
        self._opener = opener
        self._position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is held open."""

    def close(self) -> None:
        """Nothing is held open."""

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        origin = {0: 0, 1: self._position, 2: self._opener.blocks.num_bytes}[whence]
        self._position = origin + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._opener.blocks.num_bytes if size < 0 else self._position + size
        data = self._opener.read(self._position, end)
        self._position += len(data)
        return data

    def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """What GDAL asks for before it decodes the tiles of a window."""
        ranges = [(start, start + size) for start, size in zip(offsets, sizes, strict=True)]
        return self._opener.read_many(ranges)


class Fetched:
    """What was read for the window that GDAL is at, so that its tiles can be looked at."""

    def __init__(self) -> None:
        self._parts: dict[int, bytes] = {}

    def clear(self) -> None:
        self._parts.clear()

    def add(self, start: int, data: bytes) -> None:
        if len(data) > len(self._parts.get(start, b"")):
            self._parts[start] = data

    def find(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Those of the ranges that were read whole, each by one request."""
        starts = sorted(self._parts)
        found = []
        for start, end in ranges:
            first = bisect_right(starts, start) - 1
            if first >= 0 and end - starts[first] <= len(self._parts[starts[first]]):
                found.append(
                    self._parts[starts[first]][start - starts[first] : end - starts[first]]
                )
        return found


def _grouped(ranges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Numbers of ranges that one request reads together."""
    groups: list[list[int]] = []
    end = 0
    for number in sorted(range(len(ranges)), key=lambda number: ranges[number]):
        start, stop = ranges[number]
        near = start <= end + GAP_BYTES
        if groups and near and stop - ranges[groups[-1][0]][0] <= REQUEST_BYTES:
            groups[-1].append(number)
            end = max(end, stop)
        else:
            groups.append([number])
            end = stop
    return groups
