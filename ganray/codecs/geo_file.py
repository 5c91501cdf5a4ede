"""An object of a store as a file that GDAL reads: by ranges, with the store's own retries.

GDAL sees this one file and nothing beside it. An error of the store cannot pass through GDAL,
which takes it for the end of the file: it waits in `failure` until GDAL has returned.
"""

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Self

from ganray.codecs.store_blocks import GAP_BYTES, REQUEST_BYTES, StoreBlocks

NAME = "raster.tif"
"""What GDAL knows the object by: a key may hold characters that mean something to GDAL."""

TAIL_BYTES = 64
"""What is kept of a tile's or strip's end."""


class StoreOpener:
    """What rasterio asks for files; a `MultiByteRangeResourceContainer` of rasterio's."""

    def __init__(self, blocks: StoreBlocks) -> None:
        self.blocks = blocks
        self.failure: Exception | None = None
        self._plan = Plan((), joined=False)
        self._held = (0, b"")

    @contextmanager
    def following(self, plan: "Plan") -> Iterator[None]:
        """Read as planned inside the block."""
        self._plan = plan
        try:
            yield
        finally:
            self._plan, self._held = Plan((), joined=False), (0, b"")

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
        joined = self._plan.joined(start, end)
        if joined is None:
            return self._attempt(partial(self.blocks.read, start, end), start)
        if self._held[0] != joined[0]:
            self._held = (
                joined[0],
                self._attempt(partial(self.blocks.read_range, *joined), joined[0]),
            )
        return self._held[1][start - joined[0] : end - joined[0]]

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
        self._plan.look(start, data)
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


class Plan:
    """The tiles or strips of the window that GDAL is at.

    GDAL asks for tiles together but for strips one by one: those that are `joined` come in few
    requests. The `tails` of all that were read show whether they break off.
    """

    def __init__(self, ranges: Sequence[tuple[int, int]], *, joined: bool) -> None:
        self.tails: list[bytes] = []
        self._ranges = sorted(ranges)
        groups = _grouped(self._ranges) if joined else []
        self._groups = [
            (self._ranges[group[0]][0], max(self._ranges[number][1] for number in group))
            for group in groups
        ]

    def joined(self, start: int, end: int) -> tuple[int, int] | None:
        """The bytes to read in place of [start, end), which are among them."""
        number = bisect_right(self._groups, (start, sys.maxsize)) - 1
        if number >= 0 and end <= self._groups[number][1]:
            return self._groups[number]
        return None

    def look(self, start: int, data: bytes) -> None:
        """Keep the tails of those that were read whole."""
        end = start + len(data)
        for number in range(bisect_left(self._ranges, (start, 0)), len(self._ranges)):
            first, last = self._ranges[number]
            if last > end:
                break
            self.tails.append(data[max(first, last - TAIL_BYTES) - start : last - start])


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
