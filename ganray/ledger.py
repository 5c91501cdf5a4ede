"""The ledger: the table of outcomes, in Parquet beside the restored archive.

A worker records each input in an object of its own as soon as its output is written, so
that a kill loses nothing; the end of a run merges them into one segment. The latest row of
a key is its state.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ganray.errors import NotFoundError, StorageError
from ganray.storage import ObjectInfo, Store

ROWS_PREFIX = "_ganray/ledger/rows/"
SEGMENTS_PREFIX = "_ganray/ledger/segments/"
READ_THREADS = 16

State = Literal["restored", "failed"]


@dataclass(frozen=True)
class Version:
    """What makes a restoration repeatable: change one of these and it is not done."""

    etag: str
    generator_digest: str
    config_digest: str


@dataclass(frozen=True)
class LedgerRow:
    """One attempt on one input that ended. `retry` says that the next run should try again.

    `seconds` are those of the worker; `lost` names what the output format could not keep.
    `limit_pixels` is the limit that an input was too large for.
    """

    key: str
    etag: str
    generator_digest: str
    config_digest: str
    state: State
    recorded_at: float
    run_id: str
    attempts: int
    reason: str = ""
    retry: bool = False
    output: str = ""
    output_bytes: int = 0
    output_sha256: str = ""
    seconds: float = 0.0
    num_windows: int = 0
    input_pixels: int = 0
    output_pixels: int = 0
    consistency: float | None = None
    colour_drift: float | None = None
    clipped: float | None = None
    lost: str = ""
    limit_pixels: int = 0
    ganray_version: str = ""

    @property
    def version(self) -> Version:
        return Version(self.etag, self.generator_digest, self.config_digest)


SCHEMA = pa.schema(
    [
        (
            field.name,
            {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}.get(kind, pa.string()),
        )
        for field in fields(LedgerRow)
        for kind in [str(getattr(field.type, "__name__", field.type)).partition(" ")[0]]
    ]
)


class Ledger:
    """The ledger of one target."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def record(self, row: LedgerRow) -> None:
        """Store one row; recording the same attempt again replaces it."""
        self.store.write(_row_key(row.run_id, row.key), _encode([row]))

    def find(self, run_id: str, key: str) -> LedgerRow | None:
        """The row that `run_id` recorded for `key` and that is not merged yet."""
        try:
            return next(_decode(self.store.read(_row_key(run_id, key))))
        except NotFoundError:
            return None

    def read(self) -> dict[str, LedgerRow]:
        """The latest row of every key, in the order of keys."""
        keys = [info.key for info in self._objects()]
        latest: dict[str, LedgerRow] = {}
        with ThreadPoolExecutor(READ_THREADS) as pool:
            for data in pool.map(self.store.read, keys):
                for row in _decode(data):
                    known = latest.get(row.key)
                    if known is None or row.recorded_at >= known.recorded_at:
                        latest[row.key] = row
        return dict(sorted(latest.items()))

    def compact(self, run_id: str) -> None:
        """Merge all rows into one segment: the segment is written before anything is removed."""
        merged = list(self._objects())
        if len(merged) < 2:
            return
        rows = self.read().values()
        segment = f"{SEGMENTS_PREFIX}{run_id}.parquet"
        self.store.write(segment, _encode(rows))
        with ThreadPoolExecutor(READ_THREADS) as pool:
            list(pool.map(self.store.delete, (i.key for i in merged if i.key != segment)))

    def _objects(self) -> Iterator[ObjectInfo]:
        yield from self.store.list(SEGMENTS_PREFIX)
        yield from self.store.list(ROWS_PREFIX)


def _row_key(run_id: str, key: str) -> str:
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    return f"{ROWS_PREFIX}{run_id}-{name}.parquet"


def _encode(rows: Iterable[LedgerRow]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA), buffer)
    return buffer.getvalue()


def _decode(data: bytes) -> Iterator[LedgerRow]:
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowInvalid, OSError) as error:
        raise StorageError(f"a ledger object is no Parquet file: {error}; remove it") from error
    known = {field.name for field in fields(LedgerRow)}
    for values in table.to_pylist():
        yield LedgerRow(**{name: value for name, value in values.items() if name in known})
