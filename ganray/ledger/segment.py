"""The ledger's Parquet objects: row objects, read whole, and sorted segments, streamed."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ganray.errors import StorageError
from ganray.ledger.row import COLUMNS, REPEATED_COLUMNS, conformed, schema_of
from ganray.storage import Concatenation, ObjectInfo, Store

# Small groups and pages, because a merge holds one of each column of each segment.
ROW_GROUP_ROWS = 4096
_OPTIONS = {
    "compression": "zstd",
    "data_page_size": 32 << 10,
    "use_dictionary": list(REPEATED_COLUMNS),
    "write_page_checksum": True,
}


def write_rows(store: Store, key: str, table: pa.Table) -> None:
    """Write a table with all columns as one object."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, ROW_GROUP_ROWS, **_OPTIONS)
    store.write(key, sink.getvalue().to_pybytes())


def read_rows(store: Store, key: str, columns: Sequence[str]) -> pa.Table:
    """Read columns of one object, whole; `NotFoundError` if it is gone."""
    data = store.read(key)
    with _explained(store, key):
        file = _parquet(pa.BufferReader(data))
        table = file.read(_present(file, columns), use_threads=False)
        _require_all(file, table.num_rows)
        return conformed(table, columns)


def write_segment(
    store: Store, key: str, tables: Iterable[pa.Table], columns: Sequence[str] = COLUMNS
) -> None:
    """Write one object from tables that follow each other in order of keys, streaming."""
    with (
        Concatenation(store, key) as segment,
        pq.ParquetWriter(_Sink(segment.write), schema_of(columns), **_OPTIONS) as writer,
    ):
        for table in _grouped(tables):
            writer.write_table(table, ROW_GROUP_ROWS)


def read_segment(
    store: Store, info: ObjectInfo, columns: Sequence[str], *, max_rows: int, buffer_bytes: int
) -> Iterator[pa.Table]:
    """Yield a sorted object's rows, so many at once, by requests of so many bytes.

    `NotFoundError`, even in the middle, if it is gone.
    """
    last: str | None = None
    num_rows = 0
    with _explained(store, info.key):
        file = _parquet(_opened(store, info, buffer_bytes))
        names = _present(file, columns)
        for batch in file.iter_batches(max_rows, columns=names, use_threads=False):
            table = conformed(pa.Table.from_batches([batch]), columns)
            last = _require_order(table.column("key"), last)
            num_rows += table.num_rows
            yield table
        _require_all(file, num_rows)


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Gather tables, so that every row group but the last is full."""
    waiting: list[pa.Table] = []
    num_waiting = 0
    for table in tables:
        waiting.append(table)
        num_waiting += table.num_rows
        num_full = num_waiting - num_waiting % ROW_GROUP_ROWS
        if num_full:
            gathered = pa.concat_tables(waiting)
            yield gathered.slice(0, num_full)
            waiting, num_waiting = [gathered.slice(num_full)], num_waiting - num_full
    yield from waiting and [pa.concat_tables(waiting)]


def _opened(store: Store, info: ObjectInfo, buffer_bytes: int) -> Any:
    if info.num_bytes <= buffer_bytes:
        return pa.BufferReader(store.read(info.key))
    return io.BufferedReader(_Ranges(store, info), buffer_bytes)


def _parquet(source: Any) -> pq.ParquetFile:
    return pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False)


def _present(file: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    names = set(file.schema_arrow.names)
    return [name for name in columns if name in names]


def _require_all(file: pq.ParquetFile, num_rows: int) -> None:
    """Refuse a damaged header, which Arrow may take for the end of a column."""
    if num_rows != file.metadata.num_rows:
        raise ValueError(f"{num_rows} rows of {file.metadata.num_rows} can be read")


def _require_order(keys: pa.ChunkedArray, last: str | None) -> str | None:
    """Return the last key, after `last`; the merge relies on one row per key, in order."""
    if not len(keys):
        return last
    is_sorted = pc.all(pc.less(keys[:-1], keys[1:])).as_py()
    if is_sorted is False or (last is not None and keys[0].as_py() <= last):
        raise ValueError("its rows are not in the order of keys")
    end: str = keys[-1].as_py()
    return end


@contextmanager
def _explained(store: Store, key: str) -> Iterator[None]:
    """Turn what a damaged object makes Arrow raise into our error."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise StorageError(
            f"{store.uri}/{key}: no Parquet file of the ledger ({cause}); bring it back from a "
            "copy, or remove it: the inputs that it recorded are then restored again"
        ) from error


class _Ranges(io.RawIOBase):
    """An object's bytes as a file that is read by ranges."""

    def __init__(self, store: Store, info: ObjectInfo) -> None:
        self._store = store
        self._info = info
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._info.num_bytes}
        self._position = origins[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._info.num_bytes)
        data = self._store.read(self._info.key, self._position, max(self._position, end))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class _Sink(io.RawIOBase):
    """A file that passes on what is written to it."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._write(bytes(data))
        return len(data)
