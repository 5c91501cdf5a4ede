"""The nightly job: restore what is new until a deadline, try again what may pass, tell how it went.

Resuming is the restoration's own: what the ledger shows as done is not done again. A night that
the deadline cuts is no failure: its summary says what is pending, and the next night goes on.
"""

import json
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from ganray.errors import (
    ClaimedError,
    GanrayError,
    RunFailedError,
    StorageError,
    UnreachableError,
)
from ganray.pipelines.archives import absolute_uri
from ganray.pipelines.metrics import NIGHT_END, NIGHT_START, Meters
from ganray.pipelines.nightly_config import NightlyConfig
from ganray.pipelines.nightly_deadline import moment_of, seconds_until_stop, stopping_after
from ganray.pipelines.nightly_notify import notify, url_of
from ganray.pipelines.restore import Report, RestoreResult, run_restoration
from ganray.pipelines.restore_plan import RestorePlan
from ganray.pipelines.stop import DEADLINE, SIGTERM, GracefulStop
from ganray.pipelines.summary import RUNS_PREFIX, Summary
from ganray.pipelines.workers import shared_cluster
from ganray.storage import open_store

NIGHT_NAME = "nightly.json"
RETRY_PAUSE_SECONDS = 60.0
"""What failed in passing gets this long to pass."""
CLAIM_POLL_SECONDS = 30.0

NightOutcome = Literal["done", "some_failed", "deadline", "stopped", "overlapped", "failed"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Night:
    """How a night went: what the webhook gets, and what stands beside its last run.

    `inputs` and the rest are of all passes together; `failures` counts attempts of this night by
    the class of the error. Times are in ISO 8601, UTC.
    """

    outcome: NightOutcome
    message: str
    source: str
    target: str
    host: str
    started_at: str
    ended_at: str
    deadline: str
    run_id: str = ""
    passes: int = 0
    inputs: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    retryable: int = 0
    vanished: int = 0
    flagged: int = 0
    input_pixels: int = 0
    seconds: float = 0.0
    worker_seconds: float = 0.0
    job: str = "nightly"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Listener:
    """Who hears of the passes of a night, as of any restoration."""

    begin: Callable[[RestorePlan], None]
    report: Report


@dataclass(frozen=True)
class NightResult:
    """The night, and the last pass's own result."""

    night: Night
    result: RestoreResult


def run_night(config: NightlyConfig, listener: Listener) -> NightResult:
    """Restore until all is done or the deadline is near; notify, whatever happens.

    Raises what `run_restoration` raises; it was told to the webhook by then.
    """
    started = datetime.now(UTC)
    moment = moment_of(config.deadline, started, config.timezone) if config.deadline else None
    blank = Night(
        outcome="done",
        message="",
        source=_place(config.source),
        target=_place(config.target),
        host=socket.gethostname(),
        started_at=_iso(started),
        ended_at="",
        deadline=_iso(moment) if moment else "",
    )
    # What is missing is told while it can still be mended.
    if config.webhook:
        url_of(config.webhook)
    seconds = seconds_until_stop(moment, started, config.margin) if moment else None
    results: list[RestoreResult] = []
    with GracefulStop() as stop, stopping_after(seconds, stop):
        try:
            _run_exported(config, listener, stop, results)
        except BaseException as error:
            said = str(error) if isinstance(error, GanrayError) else type(error).__name__
            _tell(config, _conclude(blank, results, _outcome_of(error, stop), said))
            raise
    last = results[-1]
    night = _conclude(blank, results, _state_of(last), _message_of(last))
    _tell(config, night)
    return NightResult(night, last)


def _run_exported(
    config: NightlyConfig, listener: Listener, stop: GracefulStop, results: list[RestoreResult]
) -> None:
    """Run the passes, and say on the cluster, if there is one, when the night began and ended."""
    meters = Meters()
    outcome: NightOutcome = "failed"
    with shared_cluster(config.workers), meters.exporting():
        # Before the listing of a large archive, which may take minutes.
        stop.listen_again()
        meters.set(NIGHT_START, time.time())
        try:
            _run_passes(config, listener, stop, results)
            outcome = _state_of(results[-1])
        except BaseException as error:
            outcome = _outcome_of(error, stop)
            raise
        finally:
            meters.set(NIGHT_END, time.time(), outcome)


def _run_passes(
    config: NightlyConfig, listener: Listener, stop: GracefulStop, results: list[RestoreResult]
) -> None:
    """Restore, and again while something failed that may pass; each result is added."""
    for left in reversed(range(config.retries + 1)):
        try:
            before = tuple(result.summary.run_id for result in results)
            result = _run_pass(config, listener, stop, before)
        except UnreachableError as error:
            if not left or stop.wait(RETRY_PAUSE_SECONDS):
                raise
            _log.warning("event=pass_failed passes_left=%d cause=%r", left, str(error))
            continue
        results.append(result)
        if not result.summary.passing or not left:
            return
        if stop.wait(RETRY_PAUSE_SECONDS):
            _require_own_end(result, stop)
            return


def _require_own_end(result: RestoreResult, stop: GracefulStop) -> None:
    """Raise RunFailedError if it was not the deadline that kept a further pass from beginning."""
    if stop.reason != DEADLINE:
        raise RunFailedError(
            f"stopped by {stop.reason} before another pass over {result.summary.passing} inputs "
            "that failed in passing. What is recorded stays done; the next night goes on"
        )


def _run_pass(
    config: NightlyConfig, listener: Listener, stop: GracefulStop, before: tuple[str, ...]
) -> RestoreResult:
    """One restoration, once no other run is at work on the target."""
    while True:
        try:
            return run_restoration(
                config.restoration, listener.begin, listener.report, stop, before
            )
        except ClaimedError as error:
            if config.overlap == "stop" or stop.wait(CLAIM_POLL_SECONDS):
                raise
            _log.warning("event=waiting cause=%r", str(error))


def _conclude(
    blank: Night, results: Sequence[RestoreResult], outcome: NightOutcome, message: str
) -> Night:
    """The night in figures, those of all its passes together."""
    total = _total([result.summary for result in results]) if results else {}
    return replace(
        blank,
        outcome=outcome,
        message=message,
        ended_at=_iso(datetime.now(UTC)),
        passes=len(results),
        **total,
    )


def _outcome_of(error: BaseException, stop: GracefulStop) -> NightOutcome:
    # First: a night that waits for another one raises that one's claim when it is stopped.
    if stop.reason == SIGTERM:
        return "stopped"
    return "overlapped" if isinstance(error, ClaimedError) else "failed"


def _state_of(last: RestoreResult) -> NightOutcome:
    inputs = last.summary.inputs
    if inputs.pending:
        return "deadline"
    return "some_failed" if inputs.failed else "done"


def _message_of(last: RestoreResult) -> str:
    inputs = last.summary.inputs
    if inputs.pending:
        return f"pending for the next night: {inputs.pending} of {inputs.listed} inputs"
    if inputs.failed:
        return f"failed: {inputs.failed} of {inputs.listed} inputs"
    return f"every input is restored: {inputs.listed}"


def _total(summaries: Sequence[Summary]) -> dict[str, Any]:
    """All passes as one: what was restored in each, and the state that the last one left."""
    first, last = summaries[0], summaries[-1]
    restored = sum(summary.inputs.restored for summary in summaries)
    return {
        "run_id": last.run_id,
        "inputs": asdict(replace(last.inputs, restored=restored, unchanged=first.inputs.unchanged)),
        "failures": dict(sum((Counter(each.failures) for each in summaries), Counter[str]())),
        "retryable": last.retryable,
        "vanished": last.vanished,
        "flagged": sum(summary.flagged for summary in summaries),
        "input_pixels": sum(summary.input_pixels for summary in summaries),
        "seconds": sum(summary.seconds for summary in summaries),
        "worker_seconds": sum(summary.worker_seconds for summary in summaries),
    }


def _tell(config: NightlyConfig, night: Night) -> None:
    """Store and post how the night went; a failure of these is no failure of the night."""
    if night.run_id:
        content = json.dumps(night.as_dict(), indent=2) + "\n"
        try:
            key = f"{RUNS_PREFIX}{night.run_id}/{NIGHT_NAME}"
            open_store(config.target).write(key, content.encode())
        except StorageError as error:
            _log.warning("event=night_not_stored cause=%r", str(error))
    if config.webhook:
        notify(config.webhook, night.as_dict())


def _place(uri: str) -> str:
    """An archive's URI or path as it is understood elsewhere; what is none is refused later."""
    try:
        return absolute_uri(uri)
    except GanrayError:
        return uri


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
