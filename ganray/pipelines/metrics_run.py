"""What the driver of a restoration or a training tells of the run."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

from ganray.ledger import LedgerRow
from ganray.pipelines.metrics import (
    FAILURES,
    INPUT_PIXELS,
    INPUT_SECONDS,
    INPUTS,
    OUTPUT_PIXELS,
    RUN_PROGRESS,
    RUN_START,
    TRAIN_EVENTS,
    TRAIN_PATCHES,
    TRAIN_STEP,
    TRAIN_TIME,
    TRAIN_VALUE,
    Meters,
)
from ganray.pipelines.metrics_worker import exported
from ganray.pipelines.summary import InputCounts

TIME_PREFIX = "time_"
NOT_SHOWN = ("step", "patches_per_second")
UNKNOWN = "unknown"
"""Of a failure whose class an earlier version did not record."""


class RunMeters:
    """The metrics of one run of a kind, kept by its driver; a context that exports them."""

    kind: str

    def __init__(self, meters: Meters | None = None) -> None:
        self._meters = meters or Meters()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._meters.set(RUN_START, time.time(), self.kind)
        # A run that never begins has come no further than this.
        self.go_on()
        self._stack.enter_context(exported(self._meters))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def go_on(self) -> None:
        """Say that the run has come a step further."""
        self._meters.set(RUN_PROGRESS, time.time(), self.kind)

    def flush(self) -> None:
        self._meters.flush()


class RestoreMeters(RunMeters):
    """The metrics of one restoration."""

    kind = "restore"

    def connected(self, counts: InputCounts) -> None:
        """Say at once how things stand: workers may take minutes to start."""
        self.show(counts)
        self.flush()

    def show(self, counts: InputCounts) -> None:
        """Say how many inputs are in which state."""
        for state in ("restored", "unchanged", "failed", "pending"):
            self._meters.set(INPUTS, getattr(counts, state), state)

    def take(self, row: LedgerRow, counts: InputCounts) -> None:
        """Count one recorded row; `counts` are those after it."""
        self.go_on()
        self.show(counts)
        if row.state == "failed":
            self._meters.add(FAILURES, 1, row.error or UNKNOWN)
            return
        self._meters.add(INPUT_PIXELS, row.input_pixels)
        self._meters.add(OUTPUT_PIXELS, row.output_pixels)
        self._meters.observe(INPUT_SECONDS, row.seconds)


class TrainMeters(RunMeters):
    """The metrics of one training, as its driver hears of it."""

    kind = "train"

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take a line of metrics, or an event."""
        self.go_on()
        if "event" in line:
            self._meters.add(TRAIN_EVENTS, 1, str(line["event"]))
        else:
            self._take(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        self._meters.set(TRAIN_STEP, line["step"])
        if "patches_per_second" in line:
            self._meters.set(TRAIN_PATCHES, line["patches_per_second"])
        for name, value in line.items():
            if not isinstance(value, int | float) or name in NOT_SHOWN:
                continue
            if name.startswith(TIME_PREFIX):
                self._meters.set(TRAIN_TIME, value, name.removeprefix(TIME_PREFIX))
            else:
                self._meters.set(TRAIN_VALUE, value, name)
