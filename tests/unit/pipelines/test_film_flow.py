import threading
import time
from collections.abc import Generator, Iterator

import numpy as np
import pytest

from ganray.codecs.video import Frame
from ganray.errors import UndecodableError
from ganray.pipelines.budget import Clocks
from ganray.pipelines.film_flow import FrameFlow


class Source:
    """Frames that know how many of them are between the decoder and the encoder."""

    def __init__(self, number: int, fail_at: int = -1) -> None:
        self.number = number
        self.fail_at = fail_at
        self.num_decoded = self.num_encoded = self.most = 0
        self.is_closed = False
        self.lock = threading.Lock()

    def decode(self) -> Generator[Frame, None, None]:
        try:
            for number in range(self.number):
                if number == self.fail_at:
                    raise UndecodableError("a hole")
                with self.lock:
                    self.num_decoded += 1
                    self.most = max(self.most, self.num_decoded - self.num_encoded)
                yield Frame(number, 1, np.full((1, 2, 2), number % 256, np.uint8))
        finally:
            self.is_closed = True

    def encode(self, frames: Iterator[Frame]) -> list[int]:
        times = []
        for frame in frames:
            times.append(frame.pts)
            time.sleep(0.0005)
            with self.lock:
                self.num_encoded += 1
        return times


def flow(source: Source, num_frames: int = 4) -> FrameFlow[list[int]]:
    return FrameFlow(
        source.decode, source.encode, num_frames=num_frames, clocks=Clocks(), name="film"
    )


def threads() -> list[str]:
    own = ("ganray-decode", "ganray-encode")
    return [thread.name for thread in threading.enumerate() if thread.name in own]


@pytest.mark.parametrize("num_frames", [2, 3, 16])
def test_all_frames_arrive_in_order_and_few_are_on_their_way(num_frames: int) -> None:
    source = Source(100)
    one = flow(source, num_frames)
    for frame in one.frames():
        if frame is not None:
            one.put(frame)
    one.end()
    assert one.result() == list(range(100))
    assert source.most <= num_frames
    assert source.is_closed
    assert not threads()
    assert one.seconds > 0


def test_an_error_of_the_decoder_ends_the_frames_and_is_the_result() -> None:
    source = Source(10, fail_at=5)
    one = flow(source)
    taken = []
    for frame in one.frames():
        if frame is not None:
            taken.append(frame.pts)
            one.put(frame)
    assert taken == list(range(5))
    one.end()
    with pytest.raises(UndecodableError, match="a hole"):
        one.result()
    assert not threads()


def test_an_error_of_the_encoder_ends_the_frames_and_is_the_result() -> None:
    def encode(frames: Iterator[Frame]) -> list[int]:
        next(frames)
        raise ZeroDivisionError

    source = Source(1000)
    one = FrameFlow(source.decode, encode, num_frames=4, clocks=Clocks(), name="film")
    for frame in one.frames():
        if frame is not None:
            one.put(frame)
    one.end()
    with pytest.raises(ZeroDivisionError):
        one.result()
    assert source.num_decoded < 1000
    assert source.is_closed
    assert not threads()


@pytest.mark.parametrize("num_taken", [0, 1, 3, 10])
def test_a_flow_that_is_cancelled_leaves_no_thread(num_taken: int) -> None:
    source = Source(10)
    one = flow(source)
    frames = (frame for frame in one.frames() if frame is not None)
    for _ in range(num_taken):
        one.put(next(frames))
    one.cancel()
    assert not threads()
    assert source.is_closed or not source.num_decoded
    assert one._error is None


def test_waiting_is_not_the_time_of_a_frame() -> None:
    source = Source(6)
    clocks = Clocks()
    one = FrameFlow(source.decode, source.encode, num_frames=2, clocks=clocks, name="film")
    frames = (frame for frame in one.frames() if frame is not None)
    # The decoder waits for room, and the encoder for a frame.
    time.sleep(0.1)
    assert clocks.overdue(0.05) is None
    for _ in range(6):
        one.put(next(frames))
    one.end()
    one.result()
    assert clocks.overdue(0) is None


def test_a_frame_that_takes_too_long_is_named_and_many_frames_do_not() -> None:
    def decode() -> Generator[Frame, None, None]:
        for number in range(12):
            time.sleep(0.05 if number < 11 else 1)
            yield Frame(number, 1, np.zeros((1, 1, 1), np.uint8))

    source = Source(0)
    clocks = Clocks()
    one = FrameFlow(decode, source.encode, num_frames=20, clocks=clocks, name="film")
    begin = time.monotonic()
    while clocks.overdue(0.4) is None:
        time.sleep(0.02)
    assert time.monotonic() - begin > 11 * 0.05 + 0.4 - 0.1
    assert clocks.overdue(0.4) == "film"
    one.cancel()
