"""A list that may be long: kept in a temporary file, so that the driver's memory stays flat."""

import pickle
import tempfile
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

ITEMS_PER_BLOCK = 1000


class Spool(Generic[T]):
    """Append first, then iterate as often as wanted. The file vanishes with the object."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 it lives as long as the spool
        self._block: list[T] = []
        self._length = 0

    def append(self, item: T) -> None:
        self._block.append(item)
        self._length += 1
        if len(self._block) == ITEMS_PER_BLOCK:
            pickle.dump(self._block, self._file, pickle.HIGHEST_PROTOCOL)
            self._block = []

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        end = self._file.tell()
        position = 0
        while position < end:
            self._file.seek(position)
            block = pickle.load(self._file)
            position = self._file.tell()
            self._file.seek(end)
            yield from block
        yield from self._block
