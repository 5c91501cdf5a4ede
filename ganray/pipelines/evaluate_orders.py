"""What travels between the driver of an evaluation and its workers, and what stands meanwhile.

An order is some consecutive pairs. Its values are a small object in the output, whose name
follows from everything that they depend on: a run that goes on finds them there.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ganray.pipelines.evaluate_config import BICUBIC, EvaluateConfig
from ganray.pipelines.spool import Spool

PARTS_PREFIX = "_ganray/parts/"
LARGEST_ORDER = 16
ORDERS_AT_LEAST = 64
"""Of an archive that has as many images: enough to keep any usual number of workers busy."""

Column = tuple[str, str]
"""A generator and a metric."""


@dataclass(frozen=True)
class PairKey:
    """One pair to measure, and the versions of its files."""

    key: str
    version: str


@dataclass(frozen=True)
class EvaluateJob:
    """What every worker is given once. `generators` maps names as given to absolute ones."""

    config: EvaluateConfig
    generators: dict[str, str]
    scale: int
    bands: int
    digest: str

    @property
    def names(self) -> tuple[str, ...]:
        """Bicubic, then the generators."""
        return (BICUBIC, *self.generators)

    @property
    def crop(self) -> int:
        return self.scale if self.config.crop is None else self.config.crop


@dataclass(frozen=True)
class EvaluateOrder:
    """Consecutive pairs, the first of them with its number."""

    first: int
    keys: tuple[str, ...]
    digest: str

    @property
    def part(self) -> str:
        return f"{PARTS_PREFIX}{self.digest}.parquet"


@dataclass(frozen=True)
class PairRow:
    """What was measured of one pair, or why nothing was.

    `key` can be written down. `values` are in the order of the table's columns, None where
    undefined; `features` those of the reference and of every generator, behind each other, if a
    metric over the set asks.
    """

    number: int
    key: str
    values: tuple[float | None, ...] = ()
    features: tuple[float, ...] = ()
    reason: str = ""


def plan_orders(keys: Spool[PairKey], job: EvaluateJob) -> Iterator[EvaluateOrder]:
    """Cut the pairs into orders, which do not depend on the number of workers."""
    size = max(1, min(LARGEST_ORDER, len(keys) // ORDERS_AT_LEAST))
    group: list[PairKey] = []
    first = 0
    for pair in keys:
        group.append(pair)
        if len(group) == size:
            yield _order(first, group, job)
            first += size
            group = []
    if group:
        yield _order(first, group, job)


def _order(first: int, group: list[PairKey], job: EvaluateJob) -> EvaluateOrder:
    content = json.dumps([job.digest, first, [[pair.key, pair.version] for pair in group]])
    digest = hashlib.sha256(content.encode()).hexdigest()[:32]
    return EvaluateOrder(first, tuple(pair.key for pair in group), digest)


def encode_part(rows: list[PairRow]) -> bytes:
    """The rows of an order as Parquet."""
    table = pa.table(
        {
            "number": pa.array([row.number for row in rows], pa.int64()),
            "key": pa.array([row.key for row in rows], pa.string()),
            "values": pa.array([row.values for row in rows], pa.list_(pa.float64())),
            "features": pa.array([row.features for row in rows], pa.list_(pa.float32())),
            "reason": pa.array([row.reason for row in rows], pa.string()),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def decode_part(data: bytes) -> list[PairRow]:
    """Inverse of `encode_part`."""
    found = pq.read_table(io.BytesIO(data)).to_pylist()
    return [
        PairRow(**row | {"values": tuple(row["values"]), "features": tuple(row["features"])})
        for row in found
    ]
