"""What a run leaves under `_ganray/runs/<run-id>/`, and what `ganray status` reads back."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ganray.errors import NotFoundError
from ganray.storage import Store

RUNS_PREFIX = "_ganray/runs/"
CONFIG_NAME = "config.yaml"
SUMMARY_NAME = "summary.json"
EVENTS_NAME = "events.jsonl"
REPORT_NAME = "report.html"


@dataclass
class InputCounts:
    """Inputs by state; `listed` is the sum of the others."""

    listed: int = 0
    restored: int = 0
    unchanged: int = 0
    failed: int = 0
    pending: int = 0


@dataclass
class Summary:
    """Counts of one run. `seconds` are of the run, `worker_seconds` the sum over its workers, of
    each from its start to the end of its last order, by the clock on the wall.

    `vanished` inputs have an output and are no longer in the archive, `flagged` ones exceed a
    limit of trust. `notices` is what whoever uses the outputs has to know.
    Of the failed ones `retryable` are tried again by the next run, of which `passing` may pass by
    themselves: failures of a store, and lost workers. `failures` counts those of this run by the
    class of the error. `stopped` says by what the run was ended early.
    """

    run_id: str
    inputs: InputCounts = field(default_factory=InputCounts)
    windows: int = 0
    input_pixels: int = 0
    output_pixels: int = 0
    seconds: float = 0.0
    worker_seconds: float = 0.0
    vanished: int = 0
    flagged: int = 0
    notices: list[str] = field(default_factory=list)
    retryable: int = 0
    passing: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    stopped: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class RunFolder:
    """The files of one run."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.store = store
        self.prefix = f"{RUNS_PREFIX}{run_id}/"
        self._events: list[dict[str, Any]] = []

    def write_config(self, text: str) -> None:
        self.store.write(self.prefix + CONFIG_NAME, text.encode())

    def add_event(self, event: dict[str, Any]) -> None:
        """Remember one event; `write_events` stores them all."""
        self._events.append(event)

    def write_events(self) -> None:
        content = "".join(json.dumps(event) + "\n" for event in self._events)
        self.store.write(self.prefix + EVENTS_NAME, content.encode())

    def write_summary(self, summary: Summary) -> None:
        content = json.dumps(summary.as_dict(), indent=2) + "\n"
        self.store.write(self.prefix + SUMMARY_NAME, content.encode())

    def write_report(self, html: str) -> None:
        self.store.write(self.prefix + REPORT_NAME, html.encode())


def latest_run(store: Store) -> str | None:
    """The id of the target's latest run; ids sort by their start."""
    return max(run_ids(store), default=None)


def read_run_file(store: Store, run_id: str, name: str) -> str | None:
    """A file of a run, or None where the run did not get so far."""
    try:
        return store.read(f"{RUNS_PREFIX}{run_id}/{name}").decode()
    except NotFoundError:
        return None


def run_ids(store: Store) -> Iterable[str]:
    """The ids of a target's runs, once for each file of theirs."""
    for info in store.list(RUNS_PREFIX):
        yield info.key.removeprefix(RUNS_PREFIX).partition("/")[0]
