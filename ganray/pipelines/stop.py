"""A graceful stop: SIGTERM asks a run to finish what is in flight and to begin nothing more."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class GracefulStop:
    """A context in which SIGTERM only sets a flag; outside the main thread it does nothing."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._before: Any = None
        self.is_listening = False

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
        """Take SIGTERM over; again after `ray.init`, which takes it for itself."""
        if self._is_main:
            self.is_listening = True
            signal.signal(signal.SIGTERM, self._stop)

    def is_set(self) -> bool:
        return self._event.is_set()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._event.set()

    @property
    def _is_main(self) -> bool:
        return threading.current_thread() is threading.main_thread()
