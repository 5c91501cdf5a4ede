"""The ledger of one target: recording, gathering in segments, and reading in order of keys."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc

from ganray.errors import NotFoundError, StorageError
from ganray.ledger.merge import latest, merged
from ganray.ledger.row import (
    COLUMNS,
    ORDER_COLUMNS,
    LedgerRow,
    ResumeRow,
    resume_rows_of,
    rows_of,
    table_of,
)
from ganray.ledger.segment import read_rows, read_segment, write_rows, write_segment
from ganray.storage import ObjectInfo, Store

ROWS_PREFIX = "_ganray/ledger/rows/"
SEGMENTS_PREFIX = "_ganray/ledger/segments/"

_THREADS = 16
_TRIES = 8
_GROWTH = 2
_GATHERED_BYTES = 8 << 20
"""Parquet of the row objects that are read at once."""
_ROWS_IN_MEMORY, _LEAST_ROWS = 1 << 16, 256
"""Rows of all segments together that are in memory, and the least of each."""
_BUFFERED_BYTES, _LEAST_BYTES, _MOST_BYTES = 32 << 20, 64 << 10, 4 << 20
"""Parquet of all segments together that is in memory; the least and the most of each."""

_log = logging.getLogger(__name__)


class Ledger:
    """The ledger of one target. Only one process may absorb and compact at a time."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def record(self, rows: Sequence[LedgerRow], name: str) -> str:
        """Store rows as one object and return its key; the same name again replaces it."""
        key = f"{ROWS_PREFIX}{name}.parquet"
        write_rows(self.store, key, table_of(rows))
        return key

    def rows_of(self, prefix: str) -> list[LedgerRow]:
        """The rows of the row objects, not yet absorbed, whose name begins with `prefix`.

        End it with a separator: "run-1-7" is also the beginning of "run-1-70".
        """
        infos = list(self.store.list(ROWS_PREFIX + prefix))
        with ThreadPoolExecutor(_THREADS) as pool:
            return [row for rows in pool.map(self._rows_in, infos) for row in rows]

    def absorb(self, rows: Sequence[LedgerRow], objects: Sequence[str], segment: str) -> None:
        """Write rows as a sorted segment, then delete the row objects that they came from.

        The name of a segment is used once, since a segment of that name is replaced.
        """
        key = f"{SEGMENTS_PREFIX}{segment}.parquet"
        write_rows(self.store, key, latest(table_of(rows)))
        self._delete(objects)

    def scan(self) -> Iterator[LedgerRow]:
        """Yield the latest row of every key, in order of keys as UTF-8, in flat memory."""
        for table in self._tables(COLUMNS):
            yield from rows_of(table)

    def scan_for_resume(self) -> Iterator[ResumeRow]:
        """Like `scan`, with the columns alone that resuming needs."""
        for table in self._tables(ResumeRow._fields):
            yield from resume_rows_of(table)

    def read(self) -> dict[str, LedgerRow]:
        """The latest row of every key, in order of keys: for a target that is small."""
        return {row.key: row for row in self.scan()}

    def compact(self, run_id: str) -> None:
        """Absorb what is left in row objects, then merge the smallest segments into one.

        From the smallest segment upwards, the last one that is not more than twice as large
        as all smaller ones together is merged with these. What stays apart therefore grows
        threefold from segment to segment: few are left, a row is rewritten few times, and
        at most a third of the bytes are rows that are not the latest of their key.

        Every object is removed after its rows were written elsewhere, so that a crash leaves
        rows twice and never none.
        """
        names = self._new_segments(run_id)
        for infos in _gathered(self.store.list(ROWS_PREFIX)):
            write_rows(self.store, next(names), self._gather(infos, COLUMNS))
            self._delete([info.key for info in infos])
        segments = _to_merge(self.store.list(SEGMENTS_PREFIX))
        if len(segments) > 1:
            write_segment(self.store, next(names), merged(self._streams(segments, COLUMNS)))
            self._delete([info.key for info in segments])

    def _tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield sorted tables; where an object vanishes, list again and go on after its key."""
        columns = tuple(dict.fromkeys((*columns, *ORDER_COLUMNS)))
        last = ""
        for _ in range(_TRIES):
            after = last
            # Row objects first: what is absorbed meanwhile then stands in a listed segment.
            rows = list(self.store.list(ROWS_PREFIX))
            segments = list(self.store.list(SEGMENTS_PREFIX))
            # Twice, since a merged segment may be listed before it is there, its sources after.
            if segments != list(self.store.list(SEGMENTS_PREFIX)):
                continue
            try:
                gathered = [iter([self._gather(infos, columns)]) for infos in _gathered(rows)]
                for table in merged([*gathered, *self._streams(segments, columns)]):
                    rest = _above(table, after)
                    if rest.num_rows:
                        yield rest
                        last = rest.column("key")[-1].as_py()
                return
            except NotFoundError as error:
                _log.info("event=ledger_changed cause=%r", str(error))
        raise StorageError(
            f"{self.store.uri}: the ledger changed {_TRIES} times while it was read; wait until "
            "the run that writes it has ended"
        )

    def _streams(
        self, segments: Sequence[ObjectInfo], columns: Sequence[str]
    ) -> list[Iterator[pa.Table]]:
        num_segments = max(1, len(segments))
        max_rows = max(_LEAST_ROWS, _ROWS_IN_MEMORY // num_segments)
        buffer_bytes = max(_LEAST_BYTES, min(_MOST_BYTES, _BUFFERED_BYTES // num_segments))
        return [
            read_segment(self.store, info, columns, max_rows=max_rows, buffer_bytes=buffer_bytes)
            for info in segments
        ]

    def _gather(self, infos: Sequence[ObjectInfo], columns: Sequence[str]) -> pa.Table:
        """Return the latest rows of whole objects, sorted."""
        with ThreadPoolExecutor(_THREADS) as pool:
            tables = pool.map(lambda info: read_rows(self.store, info.key, columns), infos)
            return latest(pa.concat_tables(tables))

    def _rows_in(self, info: ObjectInfo) -> list[LedgerRow]:
        try:
            return list(rows_of(read_rows(self.store, info.key, COLUMNS)))
        except NotFoundError:
            # Absorbed since it was listed.
            return []

    def _delete(self, keys: Sequence[str]) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self.store.delete, keys))

    def _new_segments(self, run_id: str) -> Iterator[str]:
        """Yield keys that are not taken: an earlier compaction may have the same name."""
        taken = {info.key for info in self.store.list(SEGMENTS_PREFIX)}
        keys = (f"{SEGMENTS_PREFIX}{run_id}-compacted-{n:04d}.parquet" for n in count(1))
        return (key for key in keys if key not in taken)


def _gathered(infos: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    """Group row objects, so that the rows of a group fit in memory."""
    group: list[ObjectInfo] = []
    num_bytes = 0
    for info in infos:
        if group and num_bytes + info.num_bytes > _GATHERED_BYTES:
            yield group
            group, num_bytes = [], 0
        group.append(info)
        num_bytes += info.num_bytes
    if group:
        yield group


def _above(table: pa.Table, key: str) -> pa.Table:
    """The rows after a key; all of them after the empty one."""
    return table.filter(pc.greater(table.column("key"), key)) if key else table


def _to_merge(segments: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    """The smallest segments, up to the last one that these weigh up; see `Ledger.compact`."""
    by_size = sorted(segments, key=lambda info: (info.num_bytes, info.key))
    num_merged, num_bytes = 0, 0
    for number, info in enumerate(by_size, start=1):
        if info.num_bytes <= _GROWTH * num_bytes:
            num_merged = number
        num_bytes += info.num_bytes
    return by_size[:num_merged]
