"""One row of the ledger, and its columns in Arrow; no input or output here."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import pyarrow as pa

State = Literal["restored", "failed", "pruned"]


@dataclass(frozen=True)
class Version:
    """What makes a restoration repeatable: change one of these and it is not done."""

    etag: str
    generator_digest: str
    config_digest: str


@dataclass(frozen=True)
class LedgerRow:
    """One attempt on one input that ended. `retry` says that the next run should try again,
    `error` is the class of the error that `reason` tells.

    `seconds` are those that its stages took, while the worker had others in hand. `lost` names
    what the output format could not keep, `flags` the limits of trust that the output exceeded.
    `limits_digest` is of the limits that a refused input was measured against. `output_sha256` is
    over the digests of the output's parts where `output_parts`, a JSON list of their bytes, is not
    empty.
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
    output_parts: str = ""
    seconds: float = 0.0
    num_windows: int = 0
    input_pixels: int = 0
    output_pixels: int = 0
    consistency: float | None = None
    colour_drift: float | None = None
    clipped: float | None = None
    non_finite: float | None = None
    seam_error: float | None = None
    lost: str = ""
    flags: str = ""
    limits_digest: str = ""
    ganray_version: str = ""
    error: str = ""

    @property
    def version(self) -> Version:
        return Version(self.etag, self.generator_digest, self.config_digest)


class ResumeRow(NamedTuple):
    """The columns by which the next run decides what is left to do: light, for a million."""

    key: str
    etag: str
    generator_digest: str
    config_digest: str
    state: State
    retry: bool
    limits_digest: str
    ganray_version: str
    attempts: int
    output: str
    reason: str

    @property
    def version(self) -> Version:
        return Version(self.etag, self.generator_digest, self.config_digest)


def _arrow_field(field: Field[Any]) -> pa.Field:
    kinds: dict[Any, pa.DataType] = {
        float: pa.float64(),
        float | None: pa.float64(),
        int: pa.int64(),
        bool: pa.bool_(),
    }
    kind = kinds.get(field.type, pa.string())
    return pa.field(field.name, kind, nullable=field.type == float | None)


SCHEMA = pa.schema([_arrow_field(field) for field in fields(LedgerRow)])
COLUMNS: tuple[str, ...] = tuple(SCHEMA.names)
ORDER_COLUMNS = ("key", "recorded_at", "run_id", "attempts")
"""The order of a sorted table; the last row of a key is its latest."""

REPEATED_COLUMNS = (
    "generator_digest",
    "config_digest",
    "state",
    "run_id",
    "reason",
    "lost",
    "flags",
    "limits_digest",
    "ganray_version",
    "error",
)
"""Columns of text that many rows share."""

_BATCH_ROWS = 1024
"""Rows that are turned into Python's objects at once."""

_DEFAULTS = {f.name: f.default for f in fields(LedgerRow) if f.default is not MISSING}


def schema_of(names: Iterable[str]) -> pa.Schema:
    """Return the schema of some columns."""
    return pa.schema([SCHEMA.field(name) for name in names])


def table_of(rows: Iterable[LedgerRow]) -> pa.Table:
    """Return rows as a table, in their own order."""
    columns = list(zip(*map(attrgetter(*COLUMNS), rows), strict=True)) or [()] * len(COLUMNS)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def rows_of(table: pa.Table) -> Iterator[LedgerRow]:
    """Yield the rows of a table that has all columns."""
    return (LedgerRow(*values) for values in _values(table, COLUMNS))


def resume_rows_of(table: pa.Table) -> Iterator[ResumeRow]:
    """Yield the rows of a table that has the columns of `ResumeRow`."""
    return map(ResumeRow._make, _values(table, ResumeRow._fields))


def _values(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for batch in table.select(names).to_batches(max_chunksize=_BATCH_ROWS):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def conformed(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the columns of a table that another version may have written.

    What it lacks has its default; a `ValueError` says what cannot be a column of a ledger.
    """
    schema = schema_of(names)
    if table.schema.equals(schema):
        return table
    return pa.Table.from_arrays([_conformed_column(table, f) for f in schema], schema=schema)


def _conformed_column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name in table.column_names:
        column = table.column(field.name)
        if column.null_count and not field.nullable:
            raise ValueError(f"the column {field.name} has empty cells")
        return column if column.type == field.type else column.cast(field.type)
    if field.name not in _DEFAULTS:
        raise ValueError(f"the column {field.name} is missing")
    default = pa.scalar(_DEFAULTS[field.name], field.type)
    return pa.chunked_array([pa.repeat(default, table.num_rows)])
