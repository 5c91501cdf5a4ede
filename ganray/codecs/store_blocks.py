"""Small scattered reads of an object, as headers need them, in blocks that are kept for a while."""

from functools import lru_cache
from typing import Protocol

from ganray.errors import UndecodableError

BLOCK_BYTES = 64 << 10
CACHED_BLOCKS = 64
MAX_HEADER_BYTES = 256 << 20
"""What may be read before the first pixel: tables of 10 million tiles."""

REQUEST_BYTES = 8 << 20
GAP_BYTES = 64 << 10
"""What is read in vain rather than asking a second time."""


class Stored(Protocol):
    """What is known of an object before it is read."""

    @property
    def num_bytes(self) -> int: ...


class Readable(Protocol):
    """What is asked of a store, so that bytes in memory can be one too."""

    def stat(self, key: str) -> Stored:
        """The length of an object."""
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes [start, end) of an object."""
        ...


class StoreBlocks:
    """Reads an object of `num_bytes` for one thread: little through blocks, much as it is asked."""

    def __init__(self, store: Readable, key: str, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self._store = store
        self._key = key
        self._block = lru_cache(CACHED_BLOCKS)(self._read_block)

    def read(self, start: int, end: int) -> bytes:
        """The bytes [start, end) that exist."""
        end = min(end, self.num_bytes)
        if start >= end:
            return b""
        first, last = start // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        if last - first > 1:
            return self._store.read(self._key, start, end)
        blocks = b"".join(self._block(number) for number in range(first, last + 1))
        return blocks[start - first * BLOCK_BYTES : end - first * BLOCK_BYTES]

    def read_range(self, start: int, end: int) -> bytes:
        """The same, by one request for just these bytes."""
        return self._store.read(self._key, start, min(end, self.num_bytes))

    def _read_block(self, number: int) -> bytes:
        return self._store.read(self._key, number * BLOCK_BYTES, (number + 1) * BLOCK_BYTES)


class HeaderReader:
    """Reads a TIFF's directories, which are not worth more than MAX_HEADER_BYTES."""

    def __init__(self, store: Readable, key: str, num_bytes: int) -> None:
        self.blocks = StoreBlocks(store, key, num_bytes)
        self._left = MAX_HEADER_BYTES

    def read(self, start: int, end: int) -> bytes:
        """The bytes [start, end) that exist. Raises UndecodableError if it has been too many."""
        self._left -= max(0, min(end, self.blocks.num_bytes) - start)
        if self._left < 0:
            raise UndecodableError(
                f"TIFF directories of more than {MAX_HEADER_BYTES} bytes: damaged"
            )
        return self.blocks.read(start, end)
