"""The ledger of one target: recording, gathering in segments, and reading in order of keys."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pyarrow as pa

from ganray.errors import NotFoundError
from ganray.ledger.merge import latest, merged
from ganray.ledger.row import COLUMNS, LedgerRow, ResumeRow, resume_rows_of, rows_of, table_of
from ganray.ledger.scan import (
    ROWS_PREFIX,
    SEGMENTS_PREFIX,
    THREADS,
    gather,
    grouped,
    scan,
    streams_of,
)
from ganray.ledger.segment import read_rows, write_rows, write_segment
from ganray.storage import ObjectInfo, Store

_GROWTH = 2
_SMALL_BYTES = 1 << 20
_MOST_MERGED = 50
"""Segments that are merged at once: with all columns, each takes about 2 MB."""


class Ledger:
    """The ledger of one target. Any process may record and read, one at a time compacts."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def record(self, rows: Sequence[LedgerRow], name: str) -> str:
        """Store rows as one object and return its key; the same name again replaces it."""
        key = f"{ROWS_PREFIX}{name}.parquet"
        write_rows(self.store, key, table_of(rows))
        return key

    def rows_of(self, prefix: str) -> list[LedgerRow]:
        """The rows of the row objects whose name begins with `prefix`, absorbed ones left out.

        End it with a separator: "run-7" is also the beginning of "run-70".
        """
        infos = list(self.store.list(ROWS_PREFIX + prefix))
        with ThreadPoolExecutor(THREADS) as pool:
            return [row for rows in pool.map(self._rows_in, infos) for row in rows]

    def absorb(self, rows: Sequence[LedgerRow], objects: Sequence[str], segment: str) -> None:
        """Write rows as a sorted segment, then delete the row objects that they came from.

        A name of a segment serves once, since a segment of that name is replaced.
        """
        key = f"{SEGMENTS_PREFIX}{segment}.parquet"
        write_rows(self.store, key, latest(table_of(rows)))
        self._delete(objects)

    def scan(self) -> Iterator[LedgerRow]:
        """Yield the latest row of every key, in order of keys as UTF-8, in flat memory."""
        for table in scan(self.store, COLUMNS):
            yield from rows_of(table)

    def scan_for_resume(self) -> Iterator[ResumeRow]:
        """Like `scan`, with the columns alone that the next run needs, which is faster."""
        for table in scan(self.store, ResumeRow._fields):
            yield from resume_rows_of(table)

    def scan_columns(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Like `scan`, as tables of these columns at least: for sums over a million rows."""
        yield from scan(self.store, columns)

    def read(self) -> dict[str, LedgerRow]:
        """The latest row of every key, in order of keys: for a ledger that is small."""
        return {row.key: row for row in self.scan()}

    def compact(self, run_id: str) -> None:
        """Absorb what is left in row objects, then merge the smallest segments into one.

        From the smallest segment upwards, the last one that is below 1 MiB, or not more than
        twice as large as all smaller ones together, is merged with these. What stays apart
        therefore grows threefold from segment to segment: few are left, a row is rewritten
        few times, and at most a third of the bytes are rows that are not the latest of
        their key.

        Every object is removed after its rows were written elsewhere, so that a crash leaves
        rows twice and never none.
        """
        for group in grouped(list(self.store.list(ROWS_PREFIX))):
            write_rows(self.store, self._new_segment(run_id), gather(self.store, group, COLUMNS))
            self._delete([info.key for info in group])
        while segments := _to_merge(self.store.list(SEGMENTS_PREFIX)):
            streams = streams_of(self.store, segments, COLUMNS)
            write_segment(self.store, self._new_segment(run_id), merged(streams))
            self._delete([info.key for info in segments])

    def _rows_in(self, info: ObjectInfo) -> list[LedgerRow]:
        try:
            return list(rows_of(read_rows(self.store, info.key, COLUMNS)))
        except NotFoundError:
            # Absorbed since it was listed.
            return []

    def _delete(self, keys: Sequence[str]) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.store.delete, keys))

    def _new_segment(self, run_id: str) -> str:
        """Return a key that is not taken, since its segment would be lost."""
        taken = {info.key for info in self.store.list(SEGMENTS_PREFIX)}
        keys = (f"{SEGMENTS_PREFIX}{run_id}-compacted-{n:04d}.parquet" for n in count(1))
        return next(key for key in keys if key not in taken)


def _to_merge(segments: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    """Choose as `Ledger.compact` says, but no more than can be merged at once."""
    by_size = sorted(segments, key=lambda info: (info.num_bytes, info.key))
    num_merged, num_bytes = 0, 0
    for number, info in enumerate(by_size, start=1):
        if number > 1 and info.num_bytes <= max(_SMALL_BYTES, _GROWTH * num_bytes):
            num_merged = number
        num_bytes += info.num_bytes
    return by_size[: min(num_merged, _MOST_MERGED)]
