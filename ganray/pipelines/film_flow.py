"""Frames on their way through one worker: a thread decodes them, the device's takes them and
gives them back restored, another thread encodes them, in order.

No more than a given number of frames is on the way at once, from the decoder to the encoder: that
bounds the memory, whatever their number and whichever of the three is slow.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from ganray.codecs.video import Frame
from ganray.pipelines.budget import Clocks

ResultT = TypeVar("ResultT")

LEAST_FRAMES = 2
"""One that the device waits with until it knows whether it is the last, and the next."""
JOIN_SECONDS = 60.0


class _CancelledError(Exception):
    """Nobody wants the frames any more."""


class FrameFlow(Generic[ResultT]):
    """Frames of `decode`, in order to `encode`, whose result is the flow's.

    Both are called in threads that last until `result` or `cancel`. The first error of either
    ends both, and is the flow's.
    """

    def __init__(
        self,
        decode: Callable[[], Generator[Frame, None, None]],
        encode: Callable[[Iterator[Frame]], ResultT],
        *,
        num_frames: int,
        clocks: Clocks,
        name: str,
    ) -> None:
        assert num_frames >= LEAST_FRAMES, f"{num_frames} frames on the way would wait for ever"
        self._decode = decode
        self._encode = encode
        self._result: ResultT | None = None
        self._error: BaseException | None = None
        self._is_cancelled = threading.Event()
        self._permits = threading.Semaphore(num_frames)
        self._decoded: SimpleQueue[Frame | None] = SimpleQueue()
        self._restored: SimpleQueue[Frame | None] = SimpleQueue()
        self._shifts = [_Shift(clocks, name), _Shift(clocks, name)]
        self._threads = [
            threading.Thread(target=self._run_decoder, name="ganray-decode", daemon=True),
            threading.Thread(target=self._run_encoder, name="ganray-encode", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def seconds(self) -> float:
        """For how long both threads were at work."""
        return sum(shift.seconds for shift in self._shifts)

    def frames(self) -> Iterator[Frame | None]:
        """Decoded frames; None before one that has to be waited for. They end early, too, where
        an error ends the flow."""
        while True:
            if self._decoded.empty():
                yield None
            frame = self._decoded.get()
            if frame is None:
                return
            yield frame

    def put(self, frame: Frame) -> None:
        """Give the next frame back; never waits."""
        self._restored.put(frame)

    def end(self) -> None:
        """Say that all frames were given back."""
        self._restored.put(None)

    def result(self) -> ResultT:
        """Wait for the encoder. Raises the flow's error."""
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def cancel(self) -> None:
        """End both threads, unless they have; what they hang in is not waited for."""
        self._is_cancelled.set()
        self._permits.release()
        self._restored.put(None)
        for thread in self._threads:
            thread.join(JOIN_SECONDS)

    def _run_decoder(self) -> None:
        shift = self._shifts[0]
        try:
            frames = self._decode()
            try:
                while (frame := self._next_frame(frames, shift)) is not None:
                    self._decoded.put(frame)
            finally:
                frames.close()
        except BaseException as error:
            self._fail(error)
        finally:
            shift.end()
            self._decoded.put(None)

    def _next_frame(self, frames: Iterator[Frame], shift: "_Shift") -> Frame | None:
        shift.end()
        self._permits.acquire()
        shift.begin()
        return None if self._is_cancelled.is_set() else next(frames, None)

    def _run_encoder(self) -> None:
        try:
            self._result = self._encode(self._restored_frames())
        except BaseException as error:
            self._fail(error)
        finally:
            self._shifts[1].end()

    def _restored_frames(self) -> Iterator[Frame]:
        shift = self._shifts[1]
        while True:
            shift.end()
            frame = self._restored.get()
            shift.begin()
            if self._is_cancelled.is_set():
                raise _CancelledError
            if frame is None:
                return
            yield frame
            self._permits.release()

    def _fail(self, error: BaseException) -> None:
        if self._error is None and not isinstance(error, _CancelledError):
            self._error = error
        self._is_cancelled.set()
        self._permits.release()
        self._restored.put(None)


class _Shift:
    """The working hours of one thread: by a clock that is begun anew with every frame."""

    def __init__(self, clocks: Clocks, name: str) -> None:
        self.seconds = 0.0
        self._clocks = clocks
        self._name = name
        self._since: float | None = None

    def begin(self) -> None:
        self._clocks.begin(self._name)
        self._since = time.perf_counter()

    def end(self) -> None:
        """Stop the clock while the thread waits, or for good."""
        self._clocks.end()
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None
