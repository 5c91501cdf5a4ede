"""The contract of every store, and what it demands of a key; no input or output here."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from ganray.errors import StorageError

MAX_PART_NUMBER = 10_000
MAX_KEY_BYTES = 1024


@dataclass(frozen=True)
class ObjectInfo:
    """What a store tells about an object without reading it.

    `key` is relative to the store's root and "/"-separated. `etag` changes when the
    contents change: the ETag without quotes on S3, the time and size of a file.
    """

    key: str
    num_bytes: int
    etag: str


class Multipart(Protocol):
    """An object uploaded in parts: complete on a clean exit, absent after an exception."""

    def __enter__(self) -> "Multipart": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def upload(self, part_number: int, data: bytes) -> None:
        """Store one part, from any thread; the same number again replaces it.

        Numbers run from 1 to 10,000, may have gaps and give the order of the parts. S3
        wants 5 MiB to 5 GiB in every part; the last may be smaller.
        """
        ...

    def copy(self, part_number: int, key: str, start: int, end: int) -> None:
        """Store the bytes [start, end) of another object of this store as one part.

        The store copies by itself: the bytes do not come through this process. All of them
        must exist, and at least one.
        """
        ...


class Store(Protocol):
    """Objects under one root; a store can be pickled and shared between threads.

    Every method raises a child of `StorageError` that names the object.
    """

    uri: str

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key begins with `prefix`, lazily and in key order."""
        ...

    def stat(self, key: str) -> ObjectInfo:
        """Describe one object, or raise `NotFoundError`."""
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes [start, end) that exist, as `contents[start:end]` would."""
        ...

    def write(self, key: str, data: bytes) -> ObjectInfo:
        """Create or replace an object; readers see all of it or nothing."""
        ...

    def multipart(self, key: str) -> Multipart:
        """Begin an object in parts, as a context manager."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is absent already is fine."""
        ...

    def require_key(self, key: str) -> None:
        """Raise StorageError unless the store could hold an object of this key."""
        ...

    def abort_unfinished(self, older_than_seconds: float = 0.0) -> int:
        """Remove the uploads below the root that nobody completed; return how many.

        It cannot tell a killed writer from one at work: call it where no other writes, or
        with an age that no upload reaches.
        """
        ...


def check_key(key: str) -> None:
    """Refuse a key that does not stay below its store's root."""
    if not key or key.startswith("/") or "\0" in key or ".." in key.split("/"):
        raise StorageError(
            f"key {key!r}: expected a path relative to the store's root, "
            "not empty, without a leading '/' and without '..' parts; correct the key"
        )


def check_part_number(key: str, part_number: int) -> None:
    """Refuse a part number that S3 does not know."""
    if not 1 <= part_number <= MAX_PART_NUMBER:
        raise StorageError(
            f"key {key!r}: part number {part_number}, expected 1 to {MAX_PART_NUMBER}; "
            "use larger parts"
        )


def check_copy(key: str, start: int, end: int) -> None:
    """Refuse the key, and catch a programmer's empty range, which no store can copy."""
    check_key(key)
    assert 0 <= start < end, f"nothing to copy between {start} and {end}"


def check_range(start: int, end: int | None) -> None:
    """Catch a programmer's negative offset, which no store can mean."""
    assert start >= 0, f"start {start} is negative"
    assert end is None or end >= 0, f"end {end} is negative"
