"""Files of films between this machine's disk and a store, in little memory."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ganray.codecs.tiff_runs import ReadRange
from ganray.storage import Concatenation, ObjectInfo, Store
from ganray.storage.folder_files import explained

CHUNK_BYTES = 8 << 20
CHUNKS_PER_PART = 32
BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class UploadedFile:
    """Bytes of an object and of its parts; `sha256` is of the parts' digests, one after another."""

    num_bytes: int
    part_bytes: tuple[int, ...]
    sha256: str


def upload_file(path: Path, store: Store, key: str) -> UploadedFile:
    """Copy a file into a store; memory is a few chunks. Raises StorageError."""
    sizes: list[int] = []
    digests = []
    with (
        explained("read", path),
        path.open("rb") as file,
        Concatenation(store, key, path.stat().st_size) as sink,
    ):
        for number, chunk in enumerate(iter(partial(file.read, CHUNK_BYTES), b"")):
            if number % CHUNKS_PER_PART == 0:
                sizes.append(0)
                digests.append(hashlib.sha256())
            sizes[-1] += len(chunk)
            digests[-1].update(chunk)
            sink.write(chunk)
    whole = hashlib.sha256(b"".join(digest.digest() for digest in digests))
    return UploadedFile(sum(sizes), tuple(sizes), whole.hexdigest())


class BlockReader:
    """Reads objects from their beginnings to their ends, by a few requests for large blocks."""

    def __init__(self, read: ReadRange) -> None:
        self._read = read
        self._key = ""
        self._start = 0
        self._block = b""

    def __call__(self, key: str, start: int, end: int) -> bytes:
        """The bytes [start, end) that exist."""
        is_held = key == self._key and self._start <= start
        if not is_held or end > self._start + len(self._block):
            self._block = self._read(key, start, max(end, start + BLOCK_BYTES))
            self._key, self._start = key, start
        return self._block[start - self._start : end - self._start]


@dataclass(frozen=True)
class BeatingStore:
    """Reads from a store, and says of each request that it is made, for whoever watches a clock."""

    store: Store
    beat: Callable[[], None]

    def stat(self, key: str) -> ObjectInfo:
        """As a store does."""
        self.beat()
        return self.store.stat(key)

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """As a store does."""
        self.beat()
        return self.store.read(key, start, end)
