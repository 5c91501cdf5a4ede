"""A graceful stop: SIGTERM, or whoever holds it, asks a run to finish what is in flight and to
begin nothing more."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGTERM = "SIGTERM"
DEADLINE = "deadline"
MAX_FAILED = "max_failed"


class GracefulStop:
    """A context in which SIGTERM only sets a flag; outside the main thread it does nothing."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._before: Any = None
        self.is_listening = False
        self.reason = ""
        """Who asked for it first, in a word."""

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGTERM)
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_listening:
            signal.signal(signal.SIGTERM, self._before)

    def listen(self) -> None:
        """Take SIGTERM over."""
        if self._is_main:
            self.is_listening = True
            signal.signal(signal.SIGTERM, self._stop)

    def listen_again(self) -> None:
        """Take SIGTERM back from `ray.init`, which takes it for itself."""
        if self.is_listening:
            self.listen()

    def is_set(self) -> bool:
        return self._event.is_set()

    def ask(self, reason: str) -> None:
        """Ask for the stop, from any thread."""
        self.reason = self.reason or reason
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Wait for it, but not longer; whether it was asked for."""
        return self._event.wait(seconds)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.ask(SIGTERM)

    @property
    def _is_main(self) -> bool:
        return threading.current_thread() is threading.main_thread()
