"""What a training's own files tell of it: metrics as columns, events, and the time it took."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ganray.pipelines.train_output import EVENTS_KEY, METRICS_KEY
from ganray.pipelines.train_resume import read_if_there
from ganray.storage import Store
from ganray.training.reactions import Event
from ganray.training.stopwatch import Part

BEGINNINGS = ("started", "resumed")
MOST_POINTS = 300
"""Of an averaged column."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One name of the metrics: the steps (N) that have a value of it, and the values (N)."""

    steps: Values
    values: Values

    @property
    def stretch(self) -> int:
        """How many values one point of the averaged column stands for."""
        return -(-len(self.steps) // MOST_POINTS)

    def averaged(self) -> "Column":
        """Means over stretches, of which there are MOST_POINTS at most."""
        if self.stretch <= 1:
            return self
        begins = np.arange(0, len(self.steps), self.stretch)
        counts = np.diff(np.append(begins, len(self.steps)))
        means = (np.add.reduceat(values, begins) / counts for values in (self.steps, self.values))
        return Column(*means)


@dataclass(frozen=True)
class History:
    """A training as far as it is stored; `columns` has no empty one."""

    columns: dict[str, Column] = field(default_factory=dict)
    events: tuple[Event, ...] = ()

    @property
    def last_step(self) -> int:
        """The newest step that anything is known of."""
        ends = [int(column.steps[-1]) for column in self.columns.values()]
        return max([*ends, *(int(event["step"]) for event in self.events)], default=0)

    @property
    def latest(self) -> tuple[Event, ...]:
        """The events since a run last began or went on."""
        begins = [i for i, event in enumerate(self.events) if event["event"] in BEGINNINGS]
        return self.events[begins[-1] :] if begins else self.events

    def newest(self, name: str, key: str) -> Any:
        """What the newest event of a name says under `key`; None where there is none."""
        found = (event.get(key) for event in reversed(self.events) if event["event"] == name)
        return next(found, None)

    @property
    def seconds(self) -> float:
        """From every beginning to the last that was heard of that run."""
        return sum(end - begin for begin, end in self._runs())

    def _runs(self) -> Iterator[tuple[float, float]]:
        run: list[float] = []
        for event in self.events:
            if event["event"] in BEGINNINGS and run:
                yield run[0], run[-1]
                run = []
            if "time" in event:
                run.append(datetime.fromisoformat(event["time"]).timestamp())
        if run:
            yield run[0], run[-1]

    @property
    def patches_per_second(self) -> float:
        """The rate over all lines; each line's is that of as many steps."""
        column = self.columns.get("patches_per_second")
        rates = column.values[column.values > 0] if column else np.zeros(0)
        return float(len(rates) / (1 / rates).sum()) if len(rates) else math.nan

    def time_shares(self, begin: float, end: float) -> tuple[tuple[str, float], ...]:
        """Parts of the time between two steps; empty where none was measured."""
        seconds: dict[str, float] = dict.fromkeys(get_args(Part), 0.0)
        rates = self.columns.get("patches_per_second")
        if rates is None:
            return ()
        # The time of a line goes by its rate.
        weights = dict(zip(rates.steps, 1 / np.maximum(rates.values, 1e-9), strict=True))
        for name, column in self.columns.items():
            if name.startswith("time_"):
                inside = (column.steps > begin) & (column.steps <= end)
                each = [weights.get(step, 0.0) for step in column.steps[inside]]
                seconds[name.removeprefix("time_")] = float(np.dot(each, column.values[inside]))
        total = sum(seconds.values())
        return tuple((part, value / total) for part, value in seconds.items()) if total else ()


def read_history(store: Store) -> History:
    """What is stored of a training so far. Raises StorageError."""
    metrics = _lines(read_if_there(store, METRICS_KEY))
    return History(gather_columns(metrics), tuple(_lines(read_if_there(store, EVENTS_KEY))))


def _lines(content: bytes | None) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in (content or b"").splitlines() if line)


def gather_columns(lines: Iterable[dict[str, Any]]) -> dict[str, Column]:
    """Lines of metrics by name, finite numbers alone."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                steps, values = found.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
    return {name: _column(steps, values) for name, (steps, values) in found.items()}


def _column(steps: Sequence[int], values: Sequence[float]) -> Column:
    return Column(np.asarray(steps, np.float64), np.asarray(values, np.float64))
