"""Reading a ledger that others write: its latest rows in order of keys, in flat memory."""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from ganray.errors import NotFoundError, StorageError
from ganray.ledger.merge import latest, merged
from ganray.ledger.row import ORDER_COLUMNS
from ganray.ledger.segment import read_rows, read_segment, write_segment
from ganray.storage import ObjectInfo, Store, open_store

ROWS_PREFIX = "_ganray/ledger/rows/"
SEGMENTS_PREFIX = "_ganray/ledger/segments/"
THREADS = 16
MOST_SEGMENTS = 128
"""Segments that are merged at once; each costs about 1 MB."""

_TRIES = 8
_GROUP_BYTES = 8 << 20
"""Parquet of the row objects that are read at once."""
_ROWS, _LEAST_ROWS = 1 << 13, 128
"""Rows of all segments together that are in memory, and the least of each."""
_BUFFER_BYTES, _LEAST_BYTES, _MOST_BYTES = 16 << 20, 128 << 10, 4 << 20
"""Parquet of all segments together that is in memory; the least and the most of each."""

_log = logging.getLogger(__name__)


def scan(store: Store, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield sorted tables of the latest rows.

    Where an object vanishes, because a run absorbs and compacts meanwhile, what is there is
    listed again and read on after the last key.
    """
    columns = tuple(dict.fromkeys((*columns, *ORDER_COLUMNS)))
    last = ""
    for _ in range(_TRIES):
        after = last
        # Row objects first: what is absorbed meanwhile then stands in a listed segment.
        rows = list(store.list(ROWS_PREFIX))
        segments = list(store.list(SEGMENTS_PREFIX))
        # Twice: one listing may pass by before a merged segment is there, and reach its
        # sources after they are gone.
        if segments != list(store.list(SEGMENTS_PREFIX)):
            continue
        try:
            for table in _merged(store, rows, segments, columns):
                rest = _above(table, after)
                if rest.num_rows:
                    yield rest
                    last = rest.column("key")[-1].as_py()
            return
        except NotFoundError as error:
            _log.info("event=ledger_changed cause=%r", str(error))
    raise StorageError(
        f"{store.uri}: the ledger changed {_TRIES} times while it was read; wait until the run "
        "that writes it has ended"
    )


def streams_of(
    store: Store, segments: Sequence[ObjectInfo], columns: Sequence[str]
) -> list[Iterator[pa.Table]]:
    """Return the rows of segments; together they take bounded memory, if they are not many."""
    num_segments = max(1, len(segments))
    max_rows = max(_LEAST_ROWS, _ROWS // num_segments)
    buffer_bytes = max(_LEAST_BYTES, min(_MOST_BYTES, _BUFFER_BYTES // num_segments))
    return [
        read_segment(store, info, columns, max_rows=max_rows, buffer_bytes=buffer_bytes)
        for info in segments
    ]


def gather(store: Store, infos: Sequence[ObjectInfo], columns: Sequence[str]) -> pa.Table:
    """Return the latest rows of row objects, in order of keys."""
    with ThreadPoolExecutor(THREADS) as pool:
        tables = pool.map(lambda info: read_rows(store, info.key, columns), infos)
        return latest(pa.concat_tables(tables))


def grouped(infos: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    """Group row objects, so that the rows of a group fit in memory."""
    group: list[ObjectInfo] = []
    num_bytes = 0
    for info in infos:
        if group and num_bytes + info.num_bytes > _GROUP_BYTES:
            yield group
            group, num_bytes = [], 0
        group.append(info)
        num_bytes += info.num_bytes
    if group:
        yield group


def _merged(
    store: Store,
    rows: Sequence[ObjectInfo],
    segments: Sequence[ObjectInfo],
    columns: Sequence[str],
) -> Iterator[pa.Table]:
    """Merge everything; what is too much at once is first merged on the local disk."""
    groups = list(grouped(rows))
    if len(groups) <= 1 and len(segments) <= MOST_SEGMENTS:
        gathered = [iter([gather(store, group, columns)]) for group in groups]
        yield from merged([*gathered, *streams_of(store, segments, columns)])
        return
    with tempfile.TemporaryDirectory(prefix="ganray-ledger-") as folder:
        scratch = open_store(folder)
        for group in groups:
            _keep(scratch, iter([gather(store, group, columns)]), columns)
        for start in range(0, len(segments), MOST_SEGMENTS):
            part = segments[start : start + MOST_SEGMENTS]
            _keep(scratch, merged(streams_of(store, part, columns)), columns)
        yield from _merged(scratch, [], list(scratch.list()), columns)


def _keep(scratch: Store, tables: Iterable[pa.Table], columns: Sequence[str]) -> None:
    number = sum(1 for _ in scratch.list())
    write_segment(scratch, f"{number:06d}.parquet", tables, columns)


def _above(table: pa.Table, key: str) -> pa.Table:
    """The rows after a key; all of them after the empty one."""
    return table.filter(pc.greater(table.column("key"), key)) if key else table
