"""A thread that stores the newest of what it is given, while training goes on.

What fails is tried again until something newer takes its place.
"""

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from ganray.errors import StorageError
from ganray.storage import RetryPolicy

T = TypeVar("T")

WAIT_SECONDS = 10.0
"""How long training waits for a store that is slow; after that the newer state waits instead."""
BACKGROUND = RetryPolicy(base_seconds=4.0, cap_seconds=60.0)

_log = logging.getLogger(__name__)


class BackgroundWriter(Generic[T]):
    """Calls `store` in a thread, with one item at a time; one more may wait, the newest.

    `store` raises StorageError for what may succeed later; `failed` is told of every such error.
    Another error is a bug, and raised by the next call.
    """

    def __init__(
        self,
        store: Callable[[T], None],
        failed: Callable[[T, StorageError], None],
        retry: RetryPolicy = BACKGROUND,
    ) -> None:
        self._store = store
        self._failed = failed
        self._retry = retry
        self._changed = threading.Condition()
        self._waiting: list[T] = []
        self._in_flight = False
        self._is_new = False
        self._bug: BaseException | None = None
        self._closed = False
        # Not to be waited for at exit: what it writes is there or not, never in part.
        threading.Thread(target=self._run, name="ganray-checkpoint", daemon=True).start()

    def put(self, item: T) -> None:
        """Hand an item over; it replaces one that still waits."""
        with self._changed:
            self._changed.wait_for(lambda: not self._in_flight, WAIT_SECONDS)
            self._raise_bug()
            self._waiting = [item]
            self._is_new = True
            self._changed.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait until everything is stored; False if it is not by then."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: self._bug or not (self._in_flight or self._waiting), seconds
            )
            self._raise_bug()
        return bool(done)

    def close(self) -> None:
        """Try nothing again; what is being stored now may still come to its end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _raise_bug(self) -> None:
        if self._bug is not None:
            raise self._bug

    def _run(self) -> None:
        num_failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._waiting))
                if self._closed:
                    return
                item = self._waiting.pop()
                self._in_flight, self._is_new = True, False
            try:
                self._store(item)
            except StorageError as error:
                num_failures += 1
                self._failed(item, error)
                self._wait_to_retry(item, num_failures)
                continue
            except BaseException as error:
                with self._changed:
                    self._bug, self._in_flight = error, False
                    self._changed.notify_all()
                return
            num_failures = 0
            with self._changed:
                self._in_flight = False
                self._changed.notify_all()

    def _wait_to_retry(self, item: T, num_failures: int) -> None:
        """Until it is time, or something newer came, which is tried at once."""
        with self._changed:
            self._in_flight = False
            if not self._waiting:
                self._waiting = [item]
            self._changed.notify_all()
            delay = self._retry.delay_seconds(num_failures)
            self._changed.wait_for(lambda: self._closed or self._is_new, delay)
