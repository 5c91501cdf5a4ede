"""The evaluate job: pairs → each generator and bicubic → metrics, image by image → report.

Every generator goes through the Restorer that restores archives. The baseline `bicubic` is
always measured on the same pairs. Workers store what they measured, order by order, so that an
evaluation that was interrupted goes on.
"""

import json
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice

from ganray.claim import Claim, claimed
from ganray.config import to_yaml
from ganray.errors import EmptyArchiveError, NotFoundError, RunFailedError
from ganray.pipelines.evaluate_config import BICUBIC, EvaluateConfig
from ganray.pipelines.evaluate_metrics import columns_of
from ganray.pipelines.evaluate_orders import (
    PARTS_PREFIX,
    EvaluateOrder,
    PairRow,
    decode_part,
    plan_orders,
)
from ganray.pipelines.evaluate_pictures import Pictures, PictureWorker, choose_images
from ganray.pipelines.evaluate_plan import EvaluatePlan, plan_evaluation
from ganray.pipelines.evaluate_report import Findings, render_report, sign_of
from ganray.pipelines.evaluate_summary import Summaries, summarise
from ganray.pipelines.evaluate_table import ValueTable
from ganray.pipelines.evaluate_worker import EvaluateWorker
from ganray.pipelines.evaluate_writing import write_lines, write_metrics
from ganray.pipelines.pool import orders_per_wave, run_pool
from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.workers import ray_cluster
from ganray.storage import Store, join_uri, open_store

METRICS_KEY = "metrics.json"
REPORT_KEY = "report.html"
FAILED_KEY = "failed.jsonl"
CONFIG_KEY = "config.yaml"
KEPT_FAILURES = 1000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is: told after every order."""

    num_pairs: int
    num_done: int
    num_failed: int


@dataclass(frozen=True)
class EvaluateResult:
    """Generator → metric → what was found, as in `metrics.json` but for the values of every
    image; where it stands, the number of pairs, and the first of those that failed with why.
    `report` is the report's URI; empty if it could not be made."""

    summaries: Summaries
    output: str
    num_pairs: int
    num_failed: int
    failed: tuple[tuple[str, str], ...]
    report: str


def run_evaluation(config: EvaluateConfig, report: Callable[[Progress], None]) -> EvaluateResult:
    """Measure every pair. Raises GanrayError.

    SIGTERM ends the run once the orders in flight are stored, and the same command goes on.
    """
    plan = plan_evaluation(config)
    output = open_store(plan.job.config.output)
    run_id = f"evaluate-{secrets.token_hex(8)}"
    with GracefulStop() as stop, claimed(output, run_id) as claim, ExitStack() as cluster:
        run = _Run(plan, output, report)
        run.measure(stop, claim, cluster)
        return run.finish(claim, stop)


class _Run:
    """One evaluation, from its orders to its files."""

    def __init__(
        self, plan: EvaluatePlan, output: Store, report: Callable[[Progress], None]
    ) -> None:
        self.plan = plan
        self.job = plan.job
        self.output = output
        self.report = report
        self.table = ValueTable(len(plan.keys), columns_of(plan.job))

    def measure(self, stop: GracefulStop, claim: Claim, cluster: ExitStack) -> None:
        """Fill the table with what an earlier run has stored, then with what workers measure."""
        orders = self._remaining_orders()
        workers = self.job.config.workers
        while not stop.is_set() and (wave := list(islice(orders, orders_per_wave(workers)))):
            if workers.max:
                cluster.enter_context(ray_cluster(workers, workers.max * workers.cpus))
            for rows in run_pool(EvaluateWorker, self.job, wave, workers, stop):
                self._take(rows)
                _require_claim(claim, self.output.uri)
        if self.table.num_pending:
            why = "stopped by SIGTERM" if stop.is_set() else "some work was lost"
            raise RunFailedError(
                f"{why}; {self.table.num_pending} of {self.table.num_pairs} pairs are still to be "
                "measured. What is measured stays; run the same command again to go on"
            )

    def finish(self, claim: Claim, stop: GracefulStop) -> EvaluateResult:
        """Make the files of what was measured, and remove what stood meanwhile."""
        if len(self.table.failed) == self.table.num_pairs:
            _, key, reason = min(self.table.failed)
            raise EmptyArchiveError(
                f"no pair could be measured; {key}: {reason}. Check the archives, the "
                "generators' scale and bands, and the metrics"
            )
        summaries = summarise(self.table, self.plan)
        first = [(key, why) for _, key, why in nsmallest(KEPT_FAILURES, self.table.failed)]
        _require_claim(claim, self.output.uri)
        self.output.write(CONFIG_KEY, to_yaml(self.job.config).encode())
        self._write_failures()
        write_metrics(self.output, METRICS_KEY, summaries, self.table, self.plan.keys)
        # That of an earlier evaluation would tell of other values.
        self.output.delete(REPORT_KEY)
        report = self._write_report(summaries, first, claim, stop)
        _require_claim(claim, self.output.uri)
        for info in list(self.output.list(PARTS_PREFIX)):
            self.output.delete(info.key)
        return EvaluateResult(
            summaries=summaries,
            output=self.job.config.output,
            num_pairs=self.table.num_pairs,
            num_failed=len(self.table.failed),
            failed=tuple(first),
            report=report,
        )

    def _write_report(
        self,
        summaries: Summaries,
        first: list[tuple[str, str]],
        claim: Claim,
        stop: GracefulStop,
    ) -> str:
        """Write the report after what it tells of; its URI, or nothing if that did not work.

        A failure is logged: what was measured stands.
        """
        try:
            pictures = self._pictures(summaries, stop)
            page = render_report(Findings(self.job, summaries, self.table, pictures, first))
            _require_claim(claim, self.output.uri)
            self.output.write(REPORT_KEY, page.encode())
        # As wide as that: no mistake of a page may lose the hours of an evaluation.
        except Exception as error:
            logger.warning("event=report_failed output=%r cause=%r", self.output.uri, str(error))
            logger.debug("event=report_failed", exc_info=True)
            return ""
        return join_uri(self.job.config.output, REPORT_KEY)

    def _pictures(self, summaries: Summaries, stop: GracefulStop) -> list[Pictures]:
        """The images that say most, restored anew; by the pool, as what was measured."""
        metric, summary = next(iter(summaries[BICUBIC].items()))
        most = self.job.config.shown
        if not most or (BICUBIC, metric) not in self.table.columns:
            return []
        sign = sign_of(summary)
        choices = choose_images(self.table, self.plan.keys, metric, sign, most)
        found = list(run_pool(PictureWorker, self.job, choices, self.job.config.workers, stop))
        return sorted({p.choice.number: p for p in found}.values(), key=lambda p: -p.choice.gain)

    def _remaining_orders(self) -> Iterator[EvaluateOrder]:
        """The orders whose values are not stored, or in which a pair has failed, perhaps in
        passing; those that are stored whole are taken as they come by."""
        stored = _stored_parts(self.output)
        for order in plan_orders(self.plan.keys, self.job):
            rows = decode_part(self.output.read(order.part)) if order.part in stored else []
            if rows and not any(row.reason for row in rows):
                self._take(rows)
            else:
                yield order

    def _take(self, rows: list[PairRow]) -> None:
        self.table.add(rows)
        num_failed, num_pairs = len(self.table.failed), self.table.num_pairs
        self.report(Progress(num_pairs, num_pairs - self.table.num_pending, num_failed))
        if num_failed > self.job.config.max_failed * num_pairs:
            _, key, reason = next(iter(self.table.failed))
            raise RunFailedError(
                f"{num_failed} of {num_pairs} pairs failed, more than max_failed="
                f"{self.job.config.max_failed:g} allows; {key}: {reason}"
            )

    def _write_failures(self) -> None:
        """One line a failed pair, as they came; nothing of an earlier evaluation stays."""
        if not self.table.failed:
            self.output.delete(FAILED_KEY)
            return
        lines = (
            json.dumps({"key": key, "reason": reason}) + "\n"
            for _, key, reason in self.table.failed
        )
        write_lines(self.output, FAILED_KEY, lines)


def _stored_parts(output: Store) -> set[str]:
    try:
        return {info.key for info in output.list(PARTS_PREFIX)}
    except NotFoundError:
        return set()


def _require_claim(claim: Claim, uri: str) -> None:
    if claim.lost:
        raise RunFailedError(
            f"the claim on {uri} is lost, since the store did not answer or another run is there; "
            "run the same command again"
        )
