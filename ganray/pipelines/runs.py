"""The history of a target: one line for each of its runs, latest first."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from ganray.claim import claiming_runs
from ganray.errors import NotFoundError
from ganray.pipelines.archives import open_archive
from ganray.pipelines.stop import MAX_FAILED
from ganray.pipelines.summary import (
    EVENTS_NAME,
    RUNS_PREFIX,
    SUMMARY_NAME,
    InputCounts,
    read_run_file,
    run_ids,
)
from ganray.storage import Store

READERS = 32
"""Runs are small files, many of them: reading is waiting for the store."""
FIRST_EVENT_BYTES = 8192
"""Of the events, the first tells by what was restored; there may be a thousand of failures."""
RUN_ID_TIME = "%Y%m%dT%H%M%S"
SECONDS_PER_HOUR = 3600

RunState = Literal[
    "done", "some_failed", "failed", "deadline", "stopped", "unfinished",
    "running", "claimed", "lost",
]  # fmt: skip


@dataclass(frozen=True)
class RunLine:
    """One run. `state` is `failed` where more inputs failed than `max_failed` allows, `unfinished`
    where work was left over for another reason than a stop, and `lost` where a run was killed
    before it could write its summary: what it recorded is in the ledger. `claimed` is a run of
    another machine, which goes on or was killed: the next run on the target finds out.

    `generator` is as it was asked for, `generator_digest` of its weights. `job` is the id under
    which the run was submitted to Ray's job server, empty if it was not. `cost` is that of the
    workers' hours; None where no price was given, or there is no summary.
    """

    run_id: str
    state: RunState
    started_at: str
    generator: str = ""
    generator_digest: str = ""
    job: str = ""
    workers: int | None = None
    inputs: InputCounts | None = None
    input_pixels: int = 0
    seconds: float | None = None
    worker_seconds: float | None = None
    pixels_per_second: float | None = None
    cost: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_runs(target: str) -> Iterator[RunLine]:
    """The runs of a target, latest first. Raises NotFoundError if there is none."""
    store = open_archive(target)
    claiming = claiming_runs(store)
    ids = sorted(set(run_ids(store)), reverse=True)
    if not ids:
        raise NotFoundError(
            f"{target} holds no run of ganray restore; expected {RUNS_PREFIX} below it"
        )
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(lambda run_id: _read(store, run_id, claiming), ids)


def _read(store: Store, run_id: str, claiming: dict[str, bool]) -> RunLine:
    planned = _first_event(store, run_id)
    line = RunLine(
        run_id=run_id,
        state=state_without_end(run_id, claiming),
        started_at=_started_at(run_id),
        generator=str(planned.get("asked", "")),
        generator_digest=str(planned.get("generator", "")),
        job=str(planned.get("job", "")),
        workers=planned.get("workers"),
    )
    text = read_run_file(store, run_id, SUMMARY_NAME)
    if text is None:
        return line
    summary = json.loads(text)
    inputs = InputCounts(**summary["inputs"])
    seconds, worker_seconds = summary["seconds"], summary["worker_seconds"]
    price = planned.get("cost_per_worker_hour")
    return replace(
        line,
        state=state_at_end(inputs, summary.get("stopped", "")),
        inputs=inputs,
        input_pixels=summary["input_pixels"],
        seconds=seconds,
        worker_seconds=worker_seconds,
        pixels_per_second=summary["input_pixels"] / seconds if seconds else None,
        cost=price * worker_seconds / SECONDS_PER_HOUR if price else None,
    )


def state_without_end(run_id: str, claiming: dict[str, bool]) -> RunState:
    """The state of a run that has no summary, by the claims on its target."""
    if run_id not in claiming:
        return "lost"
    return "running" if claiming[run_id] else "claimed"


def state_at_end(inputs: InputCounts, stopped: str) -> RunState:
    """The state of a run by the counts of its summary, and what stopped it."""
    if stopped == MAX_FAILED:
        return "failed"
    if inputs.pending:
        return "deadline" if stopped == "deadline" else "stopped" if stopped else "unfinished"
    return "some_failed" if inputs.failed else "done"


def _first_event(store: Store, run_id: str) -> dict[str, Any]:
    """What a run said as it began; nothing if it did not get so far, or the file is damaged."""
    try:
        start = store.read(f"{RUNS_PREFIX}{run_id}/{EVENTS_NAME}", 0, FIRST_EVENT_BYTES)
        event: dict[str, Any] = json.loads(start.partition(b"\n")[0])
    except (NotFoundError, ValueError):
        return {}
    return event


def _started_at(run_id: str) -> str:
    """The time that begins a run's id, in ISO 8601; empty if it is not one of ganray's ids."""
    try:
        moment = datetime.strptime(run_id[:15], RUN_ID_TIME).replace(tzinfo=UTC)
    except ValueError:
        return ""
    return moment.isoformat(timespec="seconds")
