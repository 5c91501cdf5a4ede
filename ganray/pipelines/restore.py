"""The restore job: list → minus ledger → work orders → workers → scenes put together → summary."""

import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, islice

from ganray.claim import Claim, claimed
from ganray.config import to_yaml
from ganray.errors import CodecError, RunFailedError
from ganray.ledger import Ledger, LedgerRow
from ganray.manifest import speakable
from ganray.pipelines.metrics_run import RestoreMeters
from ganray.pipelines.node_watch import NodeCount, NodeWatch
from ganray.pipelines.placement import choose_workers, workers_for
from ganray.pipelines.pool import orders_per_wave, run_pool
from ganray.pipelines.recorder import Recorder
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_counts import beyond, count, first_summary
from ganray.pipelines.restore_job import new_job
from ganray.pipelines.restore_orders import (
    STAGING_PREFIX,
    OrderDone,
    Outcome,
    SceneFound,
    Told,
    WindowDone,
    WorkOrder,
    identity,
)
from ganray.pipelines.restore_pace import Crew
from ganray.pipelines.restore_plan import RestorePlan, plan_restoration, prepare
from ganray.pipelines.restore_report import EndedRun, write_restore_report
from ganray.pipelines.restore_worker import RestoreWorker
from ganray.pipelines.run_log import log_run
from ganray.pipelines.scene_book import SceneBook
from ganray.pipelines.scenes_ahead import scenes_ahead
from ganray.pipelines.stop import DEADLINE, MAX_FAILED, GracefulStop
from ganray.pipelines.summary import REPORT_NAME, RunFolder, Summary
from ganray.pipelines.workers import ray_cluster, submission_id
from ganray.report.amounts import counted
from ganray.storage import Store, open_store

Report = Callable[[LedgerRow | WindowDone], None]

DELETE_THREADS = 8
KEYS_AT_ONCE = 1000
KEPT_FAILURES = 1000


@dataclass(frozen=True)
class RestoreResult:
    """What a run came to, and the first of the inputs that failed, now or earlier. `report` is the
    URI of its page, empty where none could be written."""

    summary: Summary
    failed: tuple[tuple[str, str], ...]
    report: str = ""


def run_restoration(
    config: RestoreConfig,
    begin: Callable[[RestorePlan], None],
    report: Report,
    stop: GracefulStop | None = None,
    passes_before: tuple[str, ...] = (),
) -> RestoreResult:
    """Restore what the ledger does not show as done.

    `begin` gets the plan before any work, `report` every row as it is recorded, and every window of
    a scene. SIGTERM ends the run once what is in flight is recorded, which is a failure; so does a
    deadline that asks `stop`, which is none. The report shows what `passes_before`, runs of the
    same night, restored as the run's own. Raises GanrayError; what was recorded stays done.
    """
    started = time.perf_counter()
    preparation = prepare(config)
    target = open_store(preparation.config.target)
    run_id = _new_run_id()
    listening = nullcontext(stop) if stop else GracefulStop()
    with listening as stopping, log_run(run_id), claimed(target, run_id) as claim:
        plan = plan_restoration(preparation)
        run = _Run(plan, run_id, started, report, stopping, passes_before)
        begin(plan)
        with run.meters:
            run.to_the_end(claim)
    return RestoreResult(run.summary, tuple(run.failures), run.page)


class _Run:
    """One run of the restore job, from its plan to its summary."""

    def __init__(
        self,
        plan: RestorePlan,
        run_id: str,
        started: float,
        report: Report,
        stop: GracefulStop,
        passes_before: tuple[str, ...],
    ) -> None:
        self.plan = plan
        self.passes_before = passes_before
        self.started = started
        self.report = report
        self.stop = stop
        self.target: Store = open_store(plan.config.target)
        self.workers = choose_workers(plan)
        self.job = new_job(plan, run_id, num_workers=self.workers.max, started_at=_now())
        self.folder = RunFolder(self.target, run_id)
        self.summary = first_summary(plan, run_id)
        self.meters = RestoreMeters()
        self.recorder = Recorder(Ledger(self.target), run_id)
        self.scenes = SceneBook(self.workers.max)
        self.told: set[str] = set()
        self.worker_seconds: dict[str, float] = {}
        self.nodes: list[NodeCount] = []
        self.page = ""
        self.beyond = ""
        self.failures = [(row.key, row.reason) for row in islice(plan.failed_before, KEPT_FAILURES)]

    def to_the_end(self, claim: Claim) -> None:
        """Restore everything; the summary and the report are written whatever happens."""
        self._begin()
        try:
            self._record_unusable()
            for outcome in self._outcomes():
                self._take(outcome)
                self._require_claim(claim)
        finally:
            self.summary.stopped = self.stop.reason
            self._end(sys.exception())
        self._require_done()
        if not self.summary.inputs.pending:
            self._require_claim(claim)
            self._clean_up()

    def _require_done(self) -> None:
        """Raise RunFailedError if too much failed, or if something is left over for another reason
        than a deadline."""
        inputs = self.summary.inputs
        if not self.beyond and (not inputs.pending or self.stop.reason == DEADLINE):
            return
        why = self.beyond or ("stopped by SIGTERM" if self.stop.is_set() else "some work was lost")
        report = f". Report: {self.page}" if self.page else ""
        raise RunFailedError(
            f"{why}; {inputs.pending} of {counted(inputs.listed, 'input')} are still to be done, "
            f"{inputs.restored} were restored by this run. What is recorded stays done; run the "
            f"same command again to go on{report}"
        )

    def _require_claim(self, claim: Claim) -> None:
        if claim.lost:
            raise RunFailedError(
                "another run took this target over while this one did not answer; it stopped, "
                "what is recorded stays done"
            )

    def _begin(self) -> None:
        # The claim says that nobody else is at work: these are what a killed run left behind.
        num_aborted = self.target.abort_unfinished()
        self.meters.show(self.summary.inputs)
        self.folder.write_config(to_yaml(self.plan.config))
        self.target.write(self.job.generator_key, self.plan.preparation.checkpoint_bytes)
        event = {"event": "planned", "time": self.job.started_at}
        counts = self.summary.as_dict()["inputs"]
        self.folder.add_event(
            event
            | {"generator": self.job.generator_digest, "workers": self.workers.max}
            | {"job": submission_id()}
            | {"asked": self.plan.preparation.asked, "file": self.plan.config.generator}
            | {"cost_per_worker_hour": self.plan.config.cost_per_worker_hour}
            | {"vanished": self.plan.num_vanished, "aborted_uploads": num_aborted}
            | counts
        )
        self.folder.write_events()

    def _record_unusable(self) -> None:
        for item, reason in self.plan.unusable:
            named = replace(item, key=speakable(item.key))
            row = self.job.failed_row(named, CodecError(reason))
            self.recorder.record(row)
            self._handle_row(row)

    def _outcomes(self) -> Iterator[Told]:
        """What workers report, wave by wave: inputs first, then windows and scenes as they
        come up. All waves share one cluster."""
        images = self.plan.orders(self.workers.max, skip=self._split_ahead())
        is_connected = False
        with ExitStack() as cluster:
            while not self.stop.is_set():
                found: Iterator[WorkOrder] = chain(self.scenes.orders(), images)
                orders = list(islice(found, orders_per_wave(self.workers)))
                if not orders:
                    return
                workers = workers_for(orders, self.workers, self.plan.config.output.format)
                if workers.max and not is_connected:
                    is_connected = True
                    num_cpus = self.workers.max * self.workers.cpus
                    cluster.enter_context(ray_cluster(workers, num_cpus))
                    self.stop.listen_again()
                    cluster.enter_context(NodeWatch(workers.resources, self._take_nodes))
                    self.meters.connected(self.summary.inputs)
                    cluster.callback(self.meters.flush)
                yield from run_pool(RestoreWorker, self.job, orders, workers, self.stop)

    def _take_nodes(self, nodes: NodeCount) -> None:
        self.nodes.append(nodes)
        self.folder.add_event({"event": "nodes", "time": _now(), "number": nodes.number})

    def _split_ahead(self) -> set[str]:
        """Where inputs are fewer than workers, scenes are found here: the keys of these inputs.

        Otherwise the worker that comes upon one finds it, and its windows wait for the next wave.
        """
        if len(self.plan.pending) >= self.workers.max:
            return set()
        found = set()
        for scene in scenes_ahead(self.job, self.plan.pending, self.target):
            self.scenes.take(SceneFound(scene))
            found.add(scene.item.key)
        return found

    def _take(self, told: Told) -> None:
        """Handle what is told for the first time; what an ended order has told is forgotten."""
        if not isinstance(told, OrderDone):
            self._handle(told)
            return
        for outcome in told.outcomes:
            self._handle(outcome)
        self.told.difference_update(map(identity, told.outcomes))
        self.worker_seconds[told.worker] = told.worker_seconds
        self.recorder.close_order(told)

    def _handle(self, outcome: Outcome) -> None:
        if identity(outcome) in self.told:
            return
        self.told.add(identity(outcome))
        scene = self.scenes.scene_of(outcome.key) if isinstance(outcome, LedgerRow) else None
        row = self.scenes.take(outcome)
        if isinstance(outcome, LedgerRow):
            self.recorder.take(outcome)
            if scene is not None:
                # Its output is written and recorded: the windows would only take room.
                _delete_all(self.target, scene.staged_keys)
            self._handle_row(outcome)
        elif isinstance(outcome, WindowDone):
            self.meters.go_on()
            self.report(outcome)
        elif row is not None:
            self.recorder.record(row)
            self._handle_row(row)

    def _handle_row(self, row: LedgerRow) -> None:
        count(self.summary, row)
        self.meters.take(row, self.summary.inputs)
        self.report(row)
        if row.state == "failed":
            if len(self.failures) < KEPT_FAILURES:
                self.failures.append((row.key, row.reason))
                self.folder.add_event({"event": "failed", "key": row.key, "reason": row.reason})
            self.beyond = self.beyond or beyond(self.plan, self.summary)
            if self.beyond:
                self.stop.ask(MAX_FAILED)

    def _end(self, error: BaseException | None) -> None:
        self.summary.seconds = time.perf_counter() - self.started
        self.summary.worker_seconds = sum(self.worker_seconds.values())
        self.recorder.flush()
        self.folder.add_event({"event": "ended", "time": _now()} | self.summary.as_dict()["inputs"])
        self.folder.write_events()
        self.folder.write_summary(self.summary)
        trouble = (str(error) or type(error).__name__) if error else self.beyond
        crew = Crew(self.workers.max, self.nodes)
        digest = self.job.generator_digest
        ended = EndedRun(self.plan.config, self.summary, digest, crew, trouble, self.passes_before)
        if write_restore_report(self.folder, ended):
            self.page = f"{self.plan.config.target.rstrip('/')}/{self.folder.prefix}{REPORT_NAME}"

    def _clean_up(self) -> None:
        """After a complete run: one ledger, nothing in staging."""
        self.recorder.compact()
        _delete_all(self.target, (info.key for info in self.target.list(STAGING_PREFIX)))


def _delete_all(store: Store, keys: Iterable[str]) -> None:
    """Delete objects by several threads, a bounded number ahead."""
    remaining = iter(keys)
    with ThreadPoolExecutor(DELETE_THREADS) as pool:
        while group := list(islice(remaining, KEYS_AT_ONCE)):
            list(pool.map(store.delete, group))


def _new_run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
