"""What a worker's threads share: bytes that they may hold, and clocks that say if one hangs."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clocks:
    """How long each stage that is running has been at it."""

    def __init__(self) -> None:
        self._started: dict[int, tuple[float, str]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the calling thread's stage; `name` says of what."""
        thread = threading.get_ident()
        self.begin(name)
        try:
            yield
        finally:
            with self._lock:
                self._started.pop(thread, None)

    def begin(self, name: str) -> None:
        """Start the calling thread's clock anew."""
        with self._lock:
            self._started[threading.get_ident()] = (time.monotonic(), name)

    def end(self) -> None:
        with self._lock:
            self._started.pop(threading.get_ident(), None)

    def overdue(self, seconds: float) -> str | None:
        """What has taken longer than `seconds`, if anything has."""
        now = time.monotonic()
        with self._lock:
            late = [name for since, name in self._started.values() if now - since > seconds]
        return late[0] if late else None


class EngineClosedError(Exception):
    """An engine ended by an error while a thread waited for its budget."""


class Budget:
    """Bytes that may be held at once. What is larger than all of it is admitted alone."""

    def __init__(self, num_bytes: int) -> None:
        self._free = self._all = num_bytes
        self._is_closed = False
        self._changed = threading.Condition()

    def acquire(self, num_bytes: int) -> int:
        """Wait until `num_bytes` are free; returns what to give back."""
        held = min(num_bytes, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._free >= held)
            if self._is_closed:
                raise EngineClosedError
            self._free -= held
        return held

    def close(self) -> None:
        """Let nobody wait any more: what holds the rest will not give it back."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def release(self, held: int) -> None:
        with self._changed:
            self._free += held
            self._changed.notify_all()


class PausingBudget:
    """A budget whose waiting time is not the waiting stage's."""

    def __init__(self, budget: Budget, clocks: Clocks, name: str) -> None:
        self._budget = budget
        self._clocks = clocks
        self._name = name
        self.waited_seconds = 0.0

    def acquire(self, num_bytes: int) -> int:
        """Wait until `num_bytes` are free; returns what to give back."""
        self._clocks.end()
        begin = time.monotonic()
        held = self._budget.acquire(num_bytes)
        self.waited_seconds += time.monotonic() - begin
        self._clocks.begin(self._name)
        return held

    def release(self, held: int) -> None:
        """Give back a part of what was acquired, before its task is stored."""
        self._budget.release(held)

    def beat(self) -> None:
        """Start the calling thread's clock anew: it has come a step further."""
        self._clocks.begin(self._name)
