"""One object made of bytes and of ranges of other objects, in order and in little memory.

Large ranges are copied by the store itself. What S3 demands of the parts is kept here:
5 MiB to 5 GiB in each but the last, and at most 10,000 of them.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from types import TracebackType

from ganray.errors import StorageError
from ganray.storage.store import MAX_PART_NUMBER, Multipart, Store

LEAST_PART_BYTES = 5 << 20
PART_BYTES = 8 << 20
COPY_BYTES = 256 << 20
"""What one request copies: few requests, each answered before a client gives up waiting."""

_REQUESTS = 2


class Concatenation:
    """A context manager for one thread: complete on a clean exit, absent after an exception.

    `expected_bytes` bounds the object's size; it may be left out below 50 GB. Memory is three
    parts, each of 8 MiB, or of a 9,000th of `expected_bytes` where that is more.
    """

    def __init__(self, store: Store, key: str, expected_bytes: int = 0) -> None:
        self.num_bytes = 0
        self._store = store
        self._key = key
        # No part but the last is smaller, which bounds their number.
        self._least = max(LEAST_PART_BYTES, -(-expected_bytes // (MAX_PART_NUMBER - 1000)))
        self._part_bytes = max(PART_BYTES, self._least)
        self._copy_bytes = max(COPY_BYTES, 2 * self._least)
        self._pending = bytearray()
        self._num_parts = 0
        self._upload: Multipart | None = None
        self._running: deque[Future[None]] = deque()
        self._stack = ExitStack()

    def __enter__(self) -> "Concatenation":
        return self

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self.num_bytes += len(data)
        left = memoryview(data)
        while len(left):
            if len(self._pending) == self._part_bytes:
                self._flush()
            room = self._part_bytes - len(self._pending)
            self._pending += left[:room]
            left = left[room:]

    def copy(self, key: str, start: int, end: int) -> None:
        """Append the bytes [start, end), all of which exist, of another object of the store."""
        head = start
        if self._pending:
            head += max(0, self._least - len(self._pending))
        if end - head < self._least:
            self._read(key, start, end)
            return
        self._read(key, start, head)
        if self._pending:
            self._flush()
        self._copy(key, head, end)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, traceback)
            return
        with self._stack:
            self._finish()

    def _finish(self) -> None:
        if self._upload is None:
            self._store.write(self._key, bytes(self._pending))
            return
        if self._pending:
            self._flush()
        for future in self._running:
            future.result()

    def _read(self, key: str, start: int, end: int) -> None:
        for begin in range(start, end, PART_BYTES):
            stop = min(end, begin + PART_BYTES)
            data = self._store.read(key, begin, stop)
            if len(data) != stop - begin:
                raise StorageError(
                    f"{self._store.uri}/{key}: ends before byte {stop}; write it again"
                )
            self.write(data)

    def _copy(self, key: str, start: int, end: int) -> None:
        """Copy in pieces of one size, so that none is too small."""
        num_pieces = -(-(end - start) // self._copy_bytes)
        edges = [start + (end - start) * n // num_pieces for n in range(num_pieces + 1)]
        for begin, stop in pairwise(edges):
            self._start(self._begun().copy, key, begin, stop)
        self.num_bytes += end - start

    def _flush(self) -> None:
        data = bytes(self._pending)
        self._pending.clear()
        self._start(self._begun().upload, data)

    def _begun(self) -> Multipart:
        if self._upload is None:
            self._upload = self._stack.enter_context(self._store.multipart(self._key))
            # Left before the upload is: no part may arrive after it was completed or aborted.
            self._pool = self._stack.enter_context(ThreadPoolExecutor(_REQUESTS))
        return self._upload

    def _start(self, request: Callable[..., None], *arguments: object) -> None:
        """Make the next part, while the one before it may still be on its way."""
        if len(self._running) == _REQUESTS:
            self._running.popleft().result()
        self._num_parts += 1
        self._running.append(self._pool.submit(request, self._num_parts, *arguments))
