"""Merging sorted tables: one latest row per key, in order of keys, a few rows in memory."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from ganray.ledger.row import ORDER_COLUMNS

# Few, since each keeps memory of its own for what it reads.
_THREADS = 8


def latest(table: pa.Table) -> pa.Table:
    """Return the latest row of every key, in order of keys."""
    if not table.num_rows:
        return table
    table = table.combine_chunks()
    order = pc.sort_indices(table, [(name, "ascending") for name in ORDER_COLUMNS])
    table = table.take(order)
    keys = table.column("key")
    is_latest = [*pc.not_equal(keys[:-1], keys[1:]).chunks, pa.array([True])]
    return table.filter(pa.chunked_array(is_latest))


def merged(streams: Sequence[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Merge streams, each in order of keys with one row per key.

    A step takes what is not above the smallest of the last keys that are in memory: no row
    that is still to come belongs before it.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        heads = list(pool.map(_Head, streams))
        while heads := [head for head in heads if head.table.num_rows]:
            bound = min(head.last for head in heads)
            taken = [head.take(bound) for head in heads if head.first <= bound]
            yield taken[0] if len(taken) == 1 else latest(pa.concat_tables(taken))
            list(pool.map(_Head.refill, [head for head in heads if head.is_low]))


class _Head:
    """The rows of one stream that are in memory; `first` and `last` are their keys."""

    def __init__(self, stream: Iterator[pa.Table]) -> None:
        self._stream = stream
        self._has_ended = False
        self._low_rows = 0
        self.table = pa.table({})
        self.refill()
        # Refilled before they are empty: streams that alternate would give a row per step.
        self._low_rows = self.table.num_rows // 2

    @property
    def is_low(self) -> bool:
        return self.table.num_rows <= self._low_rows and not self._has_ended

    def refill(self) -> None:
        """Read until there are enough rows or the stream ends."""
        while self.is_low:
            table = next(self._stream, None)
            if table is None:
                self._has_ended = True
            elif table.num_rows:
                self._hold(pa.concat_tables([self.table, table]) if self.table.num_rows else table)

    def take(self, bound: str) -> pa.Table:
        """Remove and return the rows whose key is not above `bound`."""
        table = self.table
        num_taken = bisect_right(table.column("key"), bound, key=lambda key: key.as_py())
        self._hold(table.slice(num_taken))
        return table.slice(0, num_taken)

    def _hold(self, table: pa.Table) -> None:
        self.table = table
        if table.num_rows:
            keys = table.column("key")
            self.first: str = keys[0].as_py()
            self.last: str = keys[-1].as_py()
