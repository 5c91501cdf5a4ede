"""Rows of something that may wait for ever, read by a thread, with word of every pause."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TypeVar

RowT = TypeVar("RowT")

ROWS_AHEAD = 256
CLOSE_SECONDS = 3.0


def with_pauses(rows: Callable[[], Iterable[RowT]], seconds: float) -> Iterator[RowT | None]:
    """The rows as they come, and None whenever none came for so long.

    Whoever leaves early does not wait for the next row: the thread ends with it, or with what the
    rows come from. Raises what the rows raise.
    """
    found: Queue[tuple[RowT | None, BaseException | None]] = Queue(ROWS_AHEAD)
    is_over = threading.Event()

    def put(row: RowT | None, end: BaseException | None = None) -> None:
        while not is_over.is_set():
            with suppress(Full):
                found.put((row, end), timeout=seconds)
                return

    def read() -> None:
        try:
            for row in rows():
                put(row)
                if is_over.is_set():
                    return
            put(None, StopIteration())
        # Whatever it is: it belongs to whoever takes the rows.
        except BaseException as error:
            put(None, error)

    thread = threading.Thread(target=read, name="ganray-rows", daemon=True)
    thread.start()
    try:
        while True:
            try:
                row, end = found.get(timeout=seconds)
            except Empty:
                yield None
                continue
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield row
    finally:
        is_over.set()
        thread.join(CLOSE_SECONDS)
