"""The restore job: list → manifest → minus ledger → work orders → workers → summary."""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from ganray.config import to_yaml
from ganray.errors import RunFailedError, StorageError
from ganray.ledger import Ledger, LedgerRow
from ganray.pipelines.pool import run_pool
from ganray.pipelines.restore_config import (
    RestoreConfig,
    RestorePlan,
    plan_restoration,
)
from ganray.pipelines.restore_worker import RestoreJob, RestoreWorker
from ganray.pipelines.summary import InputCounts, RunFolder, Summary
from ganray.storage import open_store

Report = Callable[[LedgerRow], None]


@dataclass(frozen=True)
class RestoreResult:
    """What a run came to, and the inputs that failed, now or earlier."""

    summary: Summary
    failed: tuple[LedgerRow, ...]


def run_restoration(
    config: RestoreConfig, begin: Callable[[RestorePlan], None], report: Report
) -> RestoreResult:
    """Restore what the ledger does not show as done.

    `begin` gets the plan before any work, `report` every row as it is recorded. Raises
    GanrayError; what was recorded stays done.
    """
    started = time.perf_counter()
    plan = plan_restoration(config)
    job = _new_job(plan)
    target = open_store(plan.config.target)
    folder = RunFolder(target, job.run_id)
    folder.write_config(to_yaml(plan.config))
    target.write(job.generator_key, plan.checkpoint_bytes)
    summary = _first_summary(plan, job.run_id)
    folder.add_event(
        {"event": "planned", "time": job.started_at, "generator": job.generator_digest}
        | summary.as_dict()["inputs"]
    )
    folder.write_events()
    begin(plan)
    failed = list(plan.failed_before)
    try:
        for row in _outcomes(plan, job):
            _count(summary, row)
            report(row)
            if row.state == "failed":
                failed.append(row)
                folder.add_event({"event": "failed", "key": row.key, "reason": row.reason})
                _stop_beyond(summary, config.max_failed)
    finally:
        summary.seconds = time.perf_counter() - started
        folder.add_event({"event": "ended", "time": _now()} | summary.as_dict()["inputs"])
        folder.write_events()
        folder.write_summary(summary)
    Ledger(target).compact(job.run_id)
    return RestoreResult(summary, tuple(failed))


def _new_job(plan: RestorePlan) -> RestoreJob:
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
    started_at = now.isoformat(timespec="seconds")
    return RestoreJob(plan.config, plan.checkpoint.digest, run_id, started_at)


def _first_summary(plan: RestorePlan, run_id: str) -> Summary:
    counts = InputCounts(
        listed=plan.num_listed,
        unchanged=len(plan.unchanged),
        failed=len(plan.failed_before),
        pending=plan.num_pending + len(plan.unreadable),
    )
    return Summary(run_id, counts)


def _outcomes(plan: RestorePlan, job: RestoreJob) -> Iterator[LedgerRow]:
    """Rows as they are recorded: unreadable headers here, the rest by workers."""
    ledger = Ledger(open_store(plan.config.target))
    for item in plan.unreadable:
        retry = isinstance(item.error, StorageError)
        row = job.failed_row(item.info, item.error, attempts=1, retry=retry)
        ledger.record(row)
        yield row
    if plan.orders:
        yield from run_pool(RestoreWorker, job, plan.orders, plan.config.workers)


def _count(summary: Summary, row: LedgerRow) -> None:
    summary.inputs.pending -= 1
    if row.state == "restored":
        summary.inputs.restored += 1
    else:
        summary.inputs.failed += 1
    summary.windows += row.num_windows
    summary.input_pixels += row.input_pixels
    summary.output_pixels += row.output_pixels
    summary.worker_seconds += row.seconds


def _stop_beyond(summary: Summary, max_failed: float) -> None:
    counts = summary.inputs
    if counts.failed > max_failed * counts.listed:
        raise RunFailedError(
            f"{counts.failed} of {counts.listed} inputs failed, more than max_failed="
            f"{max_failed:g} allows; what is restored stays. See ganray ledger for the reasons"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
