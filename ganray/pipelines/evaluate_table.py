"""The values of an evaluation: a table in a temporary file, a column of it at a time in memory."""

import tempfile
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ganray.evaluation.distribution import FeatureSums
from ganray.manifest import speakable
from ganray.pipelines.evaluate_orders import Column, PairKey, PairRow
from ganray.pipelines.spool import Spool

Values = NDArray[np.float64]
"""One column, (pairs,); not a number where the pair failed or the metric is undefined."""

ROWS_AT_ONCE = 4096
Failure = tuple[int, str, str]
"""Number and key of a pair, and why nothing was measured of it."""


class ValueTable:
    """One row a pair, one column a generator and metric. It vanishes with the object.

    A row may come twice, as an order may be run twice.
    """

    def __init__(self, num_pairs: int, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.failed: Spool[Failure] = Spool()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 it lives as long as the table
        shape = (max(1, len(columns)), num_pairs)
        self._values = np.memmap(self._file, np.float64, "w+", shape=shape)
        self.is_failed = np.zeros(num_pairs, bool)
        self._is_done = np.zeros(num_pairs, bool)
        self._features: NDArray[np.float32] | None = None

    def add(self, rows: Iterable[PairRow]) -> None:
        """Take those rows that are not known."""
        for row in rows:
            if self._is_done[row.number]:
                continue
            self._is_done[row.number] = True
            self.is_failed[row.number] = bool(row.reason)
            if row.reason:
                self.failed.append((row.number, row.key, row.reason))
            measured = row.values or (None,) * len(self.columns)
            self._values[: len(measured), row.number] = [
                np.nan if v is None else v for v in measured
            ]
            if row.features:
                self._keep(row)

    @property
    def num_pairs(self) -> int:
        return len(self._is_done)

    @property
    def num_pending(self) -> int:
        return int((~self._is_done).sum())

    def column(self, generator: str, metric: str) -> Values:
        """A copy of one column."""
        return np.array(self._values[self.columns.index((generator, metric))])

    def feature_sums(
        self, place: int, num_sides: int, keys: Spool[PairKey], seed: int
    ) -> FeatureSums:
        """What is known of the features of one side of the pairs: of the references at place 0,
        then of each generator; in the order of the keys, whoever measured what."""
        if self._features is None:
            return FeatureSums.empty(1, seed)
        size = self._features.shape[1] // num_sides
        columns = slice(place * size, (place + 1) * size)
        sums = FeatureSums.empty(size, seed)
        remaining = iter(keys)
        for first in range(0, self.num_pairs, ROWS_AT_ONCE):
            rows = np.array(self._features[first : first + ROWS_AT_ONCE, columns])
            names = [speakable(pair.key) for pair in islice(remaining, len(rows))]
            known = np.flatnonzero(np.isfinite(rows).all(axis=1))
            if known.size:
                sums = sums.add([names[row] for row in known], rows[known])
        return sums

    def _keep(self, row: PairRow) -> None:
        if self._features is None:
            self._feature_file = tempfile.TemporaryFile()  # noqa: SIM115
            shape = (self.num_pairs, len(row.features))
            self._features = np.memmap(self._feature_file, np.float32, "w+", shape=shape)
            self._features[:] = np.nan
        self._features[row.number] = row.features
