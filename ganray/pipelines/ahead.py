"""A function over many items by several threads, in their order, a bounded number ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = 8
ITEMS_AHEAD = 4 * THREADS

ItemT = TypeVar("ItemT")
T = TypeVar("T")


def in_order(function: Callable[[ItemT], T], items: Iterable[ItemT]) -> Iterator[T]:
    """What the function gives for each item; memory does not grow with their number."""
    with ThreadPoolExecutor(THREADS) as pool:
        ahead: deque[Future[T]] = deque()
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) >= ITEMS_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
