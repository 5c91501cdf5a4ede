"""What the ledger says of a run, gathered for its report in one pass and in flat memory."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ganray.ledger import Ledger

FIGURES = ("consistency", "colour_drift", "clipped", "seam_error")
COLUMNS = (
    *("key", "output", "state", "reason", "flags", "run_id", "recorded_at"),
    *("generator_digest", "config_digest", "input_pixels", "output_pixels"),
    *FIGURES,
)
FINE_BINS = 20_000
"""Of a figure of trust from 0 to 1; few are drawn in the end, over what is there."""
TIME_BINS = 48
MOST_REASONS = 500
EXAMPLES = 3
MOST_TIFFS = 200
ROWS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Known:
    """A restored input as the ledger has it; `is_earlier` if an earlier run restored it."""

    key: str
    output: str
    flags: str
    input_pixels: int
    output_pixels: int
    consistency: float | None
    colour_drift: float | None
    clipped: float | None
    seam_error: float | None
    is_earlier: bool


@dataclass
class Reason:
    """Why inputs failed: in the words of the first, with its key and a few more."""

    words: str
    number: int = 0
    keys: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scope:
    """Whose rows are meant: of a run, and of all runs by the same generator and configuration.

    `began` and `ended` are seconds since the epoch. `num_worst` and `num_random` rows are kept.
    `passes_before` are runs of the same night, whose rows are shown as the run's own.
    """

    run_id: str
    generator_digest: str
    config_digest: str
    began: float
    ended: float
    num_worst: int
    num_random: int
    passes_before: tuple[str, ...] = ()


@dataclass
class Findings:
    """Sums over the ledger; what is kept of single rows is bounded. Of those to be shown, rows of
    earlier runs are kept only where the run itself leaves room.

    `fine` counts each figure in FINE_BINS from 0 to 1 and `beyond` above; `pixels` are restored
    input pixels of the run in TIME_BINS from its beginning to its end, `inputs` those that it was
    over with, failed ones too.
    """

    scope: Scope
    num_restored: int = 0
    fine: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    beyond: dict[str, int] = field(default_factory=dict)
    pixels: NDArray[np.float64] = field(default_factory=lambda: np.zeros(TIME_BINS))
    inputs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(TIME_BINS, np.int64))
    reasons: dict[str, Reason] = field(default_factory=dict)
    num_other_reasons: int = 0
    worst: list[Known] = field(default_factory=list)
    random: list[Known] = field(default_factory=list)
    tiffs: list[str] = field(default_factory=list)

    def add(self, table: pa.Table, rng: np.random.Generator) -> None:
        """Take in a table of the ledger."""
        current = pc.and_(
            pc.equal(table["generator_digest"], self.scope.generator_digest),
            pc.equal(table["config_digest"], self.scope.config_digest),
        )
        table = table.filter(current)
        own = pa.array([self.scope.run_id, *self.scope.passes_before])
        is_earlier = pc.invert(pc.is_in(table["run_id"], value_set=own))
        table = table.append_column("is_earlier", is_earlier)
        restored = table.filter(pc.equal(table["state"], "restored"))
        self._add_pace(table.filter(pc.equal(table["run_id"], self.scope.run_id)))
        self._add_failed(table.filter(pc.equal(table["state"], "failed")))
        self.num_restored += restored.num_rows
        if restored.num_rows:
            self._add_figures(restored)
            self._keep_worst(restored)
            # Beyond every lot of the run's own.
            handicaps = restored["is_earlier"].to_numpy()
            self._random.add(restored, rng.random(restored.num_rows) + handicaps)
            tiffs = restored.filter(pc.match_substring_regex(restored["key"], r"(?i)\.tiff?$"))
            self._tiffs.add(tiffs, rng.random(tiffs.num_rows))

    def __post_init__(self) -> None:
        # More than are shown: some of them may be among the worst.
        self._random = _Draw(self.scope.num_random + self.scope.num_worst)
        self._tiffs = _Draw(MOST_TIFFS)

    def finish(self) -> None:
        """Choose what is shown of what was drawn."""
        worst = {known.key for known in self.worst}
        drawn = [known for known in _known(self._random.table) if known.key not in worst]
        self.random = drawn[: self.scope.num_random]
        if self._tiffs.table is not None:
            self.tiffs = self._tiffs.table["key"].to_pylist()

    def _add_figures(self, restored: pa.Table) -> None:
        for name in FIGURES:
            values = restored[name].drop_null().to_numpy()
            values = values[np.isfinite(values)]
            bins = (np.clip(values, 0, 1 - 0.5 / FINE_BINS) * FINE_BINS).astype(np.int64)
            counts = np.bincount(bins[values <= 1], minlength=FINE_BINS)
            self.fine[name] = self.fine.get(name, np.zeros(FINE_BINS, np.int64)) + counts
            self.beyond[name] = self.beyond.get(name, 0) + int((values > 1).sum())

    def _add_pace(self, mine: pa.Table) -> None:
        times = (mine["recorded_at"].to_numpy() - self.scope.began) / max(
            1e-3, self.scope.ended - self.scope.began
        )
        # Clocks of other machines may differ: what lies outside belongs to an end.
        bins = np.clip(times * TIME_BINS, 0, TIME_BINS - 1).astype(np.int64)
        self.pixels += np.bincount(bins, mine["input_pixels"].to_numpy(), TIME_BINS)
        self.inputs += np.bincount(bins, minlength=TIME_BINS)

    def _keep_worst(self, restored: pa.Table) -> None:
        measured = restored.filter(pc.is_valid(restored["consistency"]))
        order = pc.select_k_unstable(
            measured,
            self.scope.num_worst,
            [("is_earlier", "ascending"), ("consistency", "descending")],
        ) if self.scope.num_worst else []  # fmt: skip
        found = [*self.worst, *_known(measured.take(order))] if len(order) else self.worst
        found.sort(key=lambda known: (known.is_earlier, -(known.consistency or 0), known.key))
        self.worst = found[: self.scope.num_worst]

    def _add_failed(self, failed: pa.Table) -> None:
        for key, words in zip(failed["key"].to_pylist(), failed["reason"].to_pylist(), strict=True):
            kind = kind_of_reason(words)
            if kind not in self.reasons and len(self.reasons) >= MOST_REASONS:
                self.num_other_reasons += 1
                continue
            reason = self.reasons.setdefault(kind, Reason(words))
            reason.number += 1
            if len(reason.keys) < EXAMPLES:
                reason.keys.append(key)


class _Draw:
    """A sample of rows whose number is not known: those with the lowest lots stay."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.table: pa.Table | None = None
        self._lots = np.zeros(0)

    def add(self, table: pa.Table, lots: NDArray[np.float64]) -> None:
        lots = np.concatenate([self._lots, lots])
        joined = table if self.table is None else pa.concat_tables([self.table, table])
        kept = np.argsort(lots)[: self.size]
        # Copied, so that no slice keeps a large table in memory.
        self.table, self._lots = joined.take(pa.array(kept)).combine_chunks(), lots[kept]


def gather_findings(ledger: Ledger, scope: Scope, seed: int = 0) -> Findings:
    """Read the ledger once. Raises StorageError."""
    rng = np.random.default_rng(seed)
    findings = Findings(scope)
    for table in _large(ledger.scan_columns(COLUMNS)):
        findings.add(table, rng)
    findings.finish()
    return findings


def _large(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in fewer tables: what is done with each costs as much as a thousand rows."""
    group: list[pa.Table] = []
    num_rows = 0
    for table in tables:
        group.append(table)
        num_rows += table.num_rows
        if num_rows >= ROWS_AT_ONCE:
            yield pa.concat_tables(group)
            group, num_rows = [], 0
    if group:
        yield pa.concat_tables(group)


def kind_of_reason(words: str) -> str:
    """A reason without what differs from input to input: numbers, quoted text, paths."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|b'[^']*'|\S*/\S+|[0-9][0-9.,]*", "…", words)


def _known(table: pa.Table | None) -> list[Known]:
    if table is None:
        return []
    names: Sequence[str] = [f.name for f in Known.__dataclass_fields__.values()]
    return [Known(**row) for row in table.select(names).to_pylist()]
