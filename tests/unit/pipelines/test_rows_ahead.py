"""Rows are read ahead: in order, with word of a pause, and left without waiting for the next."""

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from ganray.pipelines.rows_ahead import ROWS_AHEAD, with_pauses

PAUSE_SECONDS = 0.05


def test_rows_come_in_their_order_and_end() -> None:
    numbers = range(3 * ROWS_AHEAD)
    told = [row for row in with_pauses(lambda: numbers, 10.0) if row is not None]
    assert told == list(numbers)


def test_a_pause_is_told_and_the_row_after_it() -> None:
    may_go_on = threading.Event()

    def rows() -> Iterator[str]:
        yield "first"
        may_go_on.wait()
        yield "last"

    told = []
    for row in with_pauses(rows, PAUSE_SECONDS):
        told.append(row)
        if row is None:
            may_go_on.set()
    assert told[:2] == ["first", None]
    assert told[-1] == "last"


def test_what_the_rows_raise_is_raised_after_those_before_it() -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise KeyError("damaged")

    told = with_pauses(rows, 10.0)
    assert next(told) == 1
    with pytest.raises(KeyError, match="damaged"):
        next(told)


def test_who_leaves_closes_the_rows() -> None:
    is_closed = threading.Event()

    def rows() -> Iterator[int]:
        try:
            yield from count()
        finally:
            is_closed.set()

    told = with_pauses(rows, PAUSE_SECONDS)
    assert next(told) == 0
    told.close()
    assert is_closed.wait(10)
