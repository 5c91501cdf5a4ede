"""What a restore worker tells of itself: seconds by stage, bytes, windows, queues, retries."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal

from ganray.pipelines.metrics import (
    DEVICE_WAIT_SECONDS,
    QUEUE_DEPTH,
    READ_BYTES,
    STAGE_SECONDS,
    STORE_RETRIES,
    WINDOWS,
    WRITTEN_BYTES,
    Meters,
)
from ganray.storage import Multipart, ObjectInfo, Store
from ganray.storage.retry import __name__ as RETRY_LOGGER

Stage = Literal["read", "decode", "restore", "encode", "write"]


class WorkerMeters:
    """The metrics of one worker; its threads share them.

    Decoding and encoding are measured around whole tasks, without the time that their thread
    spent at a store or waited. Of films, that is without the frames, which threads of their own
    decode and encode.
    """

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._own = threading.local()

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Time what the calling thread does, less what it excludes meanwhile."""
        before = self._excluded
        begin = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - begin
            self._meters.add(STAGE_SECONDS, seconds - (self._excluded - before), name)
            # Stages may be nested: the outer one is without the inner one's time.
            self._own.excluded = before + seconds

    def exclude(self, seconds: float) -> None:
        """Say that the calling thread was not at work so long."""
        self._own.excluded = self._excluded + seconds

    @property
    def _excluded(self) -> float:
        return float(getattr(self._own, "excluded", 0.0))

    def restored(self, seconds: float) -> None:
        """Count a window that the device was busy with for so long."""
        self._meters.add(WINDOWS, 1)
        self._meters.add(STAGE_SECONDS, seconds, "restore")

    def waited(self, seconds: float) -> None:
        """Count how long the device waited."""
        self._meters.add(DEVICE_WAIT_SECONDS, seconds)

    def queues(self, *, loading: int, storing: int) -> None:
        """Say how many tasks are ahead of the device, and behind it."""
        self._meters.set(QUEUE_DEPTH, loading, "loading")
        self._meters.set(QUEUE_DEPTH, storing, "storing")

    def read(self, num_bytes: int) -> None:
        self._meters.add(READ_BYTES, num_bytes)

    def written(self, num_bytes: int) -> None:
        self._meters.add(WRITTEN_BYTES, num_bytes)

    def flush(self) -> None:
        self._meters.flush()


class MeteredStore:
    """A store whose bytes and seconds are counted. Pickled, for another process, it is the store
    alone."""

    def __init__(self, store: Store, meters: WorkerMeters) -> None:
        self.uri = store.uri
        self.store = store
        self.meters = meters

    def __reduce__(self) -> tuple[Any, ...]:
        return _same, (self.store,)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.store.list(prefix)

    def stat(self, key: str) -> ObjectInfo:
        return self.store.stat(key)

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        with self.meters.stage("read"):
            data = self.store.read(key, start, end)
        self.meters.read(len(data))
        return data

    def write(self, key: str, data: bytes) -> ObjectInfo:
        with self.meters.stage("write"):
            written = self.store.write(key, data)
        self.meters.written(len(data))
        return written

    def multipart(self, key: str) -> Multipart:
        return _MeteredMultipart(self.store.multipart(key), self.meters)

    def delete(self, key: str) -> None:
        self.store.delete(key)

    def require_key(self, key: str) -> None:
        self.store.require_key(key)

    def abort_unfinished(self, older_than_seconds: float = 0.0) -> int:
        return self.store.abort_unfinished(older_than_seconds)


def _same(store: Store) -> Store:
    return store


class _MeteredMultipart:
    """An upload in parts whose bytes and seconds are counted; what the store copies is not."""

    def __init__(self, upload: Multipart, meters: WorkerMeters) -> None:
        self._upload = upload
        self._meters = meters

    def __enter__(self) -> "_MeteredMultipart":
        self._upload.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._meters.stage("write"):
            self._upload.__exit__(kind, error, traceback)

    def upload(self, part_number: int, data: bytes) -> None:
        with self._meters.stage("write"):
            self._upload.upload(part_number, data)
        self._meters.written(len(data))

    def copy(self, part_number: int, key: str, start: int, end: int) -> None:
        self._upload.copy(part_number, key, start, end)


class RetryCounter(logging.Handler):
    """Counts the retries of stores: their layer knows no metrics, and logs each."""

    def __init__(self, meters: Meters) -> None:
        super().__init__(logging.WARNING)
        self._meters = meters

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("event=retry "):
            self._meters.add(STORE_RETRIES, 1)


@contextmanager
def exported(meters: Meters) -> Iterator[None]:
    """Export a process's metrics meanwhile, the retries of its stores among them."""
    counter = RetryCounter(meters)
    logger = logging.getLogger(RETRY_LOGGER)
    logger.addHandler(counter)
    try:
        with meters.exporting():
            yield
    finally:
        logger.removeHandler(counter)
