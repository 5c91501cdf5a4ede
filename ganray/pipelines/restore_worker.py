"""One worker of a restoration: it reads, restores, writes and records itself.

An input that cannot be restored is a row; whatever else goes wrong is an exception. Nothing
recorded is done again: a worker that is started anew first asks the ledger.
"""

import json
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain

import torch

from ganray.errors import LostWorkerError, NotFoundError
from ganray.ledger import ROWS_PREFIX, Ledger, LedgerRow
from ganray.pipelines.budget import Clocks
from ganray.pipelines.film_tasks import FilmAssemblyTask, FilmSegmentTask
from ganray.pipelines.image_task import ImageTask
from ganray.pipelines.metrics import Meters
from ganray.pipelines.metrics_worker import MeteredStore, WorkerMeters, exported
from ganray.pipelines.overlap import Engine, Task
from ganray.pipelines.pool import TASKS_IN_FLIGHT, WorkerContext
from ganray.pipelines.restore_orders import (
    ATTEMPTS_PREFIX,
    AssemblyOrder,
    ImageOrder,
    OrderDone,
    Outcome,
    RestoreJob,
    Told,
    WindowOrder,
    WorkOrder,
)
from ganray.pipelines.restore_tools import RestoreTools
from ganray.pipelines.run_log import log_worker
from ganray.pipelines.scene_tasks import AssemblyTask, SceneWindowTask
from ganray.restoration.canvas import RestoredWindow, WindowTask

WATCH_SECONDS = 1.0
DEADLY = 2

_log = logging.getLogger(__name__)


class RestoreWorker:
    """Restores work orders; holds the generator, the stores and the threads."""

    def __init__(self, job: RestoreJob, context: WorkerContext) -> None:
        torch.set_num_threads(job.config.workers.num_threads)
        self.job = job
        self.context = context
        self._id, self._began = secrets.token_hex(8), time.monotonic()
        # In the process itself a crash would end the run; after a crash the culprit is sought.
        self.tools = RestoreTools(job, isolated=context.in_process or context.restarted)
        meters = Meters()
        self.meters = WorkerMeters(meters)
        self.tools.source = MeteredStore(self.tools.source, self.meters)
        self.tools.target = MeteredStore(self.tools.target, self.meters)
        self._shell = ExitStack()
        if context.in_process:
            # The driver logs for itself, and counts the retries of the whole process.
            self._shell.enter_context(meters.exporting())
        else:
            self._shell.enter_context(exported(meters))
            log_worker(job.run_id)
        self.ledger = Ledger(self.tools.target)
        self.engine: Engine[Outcome] = Engine(
            self._restore,
            self._commit,
            num_readers=job.config.workers.num_readers,
            num_writers=job.config.workers.num_writers,
            num_ahead=job.config.workers.num_ahead,
            buffer_bytes=job.config.workers.buffer_bytes,
            meters=self.meters,
        )
        self._prefix = ""
        self._num_orders = 0
        self._objects: list[str] = []
        if not context.in_process:
            _watch(self.engine.clocks, job.config.limits.seconds)

    def run(self, order: WorkOrder) -> Iterator[Told]:
        """Restore one order; every row is recorded before it is yielded."""
        self._prefix = f"{self.job.run_id}-{order.name}-"
        self._objects = []
        self._num_orders += 1
        # The order that an earlier worker died of is among the first that this one gets.
        is_suspect = self.context.restarted and self._num_orders <= TASKS_IN_FLIGHT
        run = self._go_on(order) if is_suspect else self._run(order)
        outcomes = []
        for outcome in run:
            outcomes.append(outcome)
            yield outcome
        # After its last order Ray ends a worker without a word.
        self.meters.flush()
        lived = time.monotonic() - self._began
        yield OrderDone(order.name, tuple(self._objects), tuple(outcomes), self._id, lived)

    def _run(self, order: WorkOrder) -> Iterator[Outcome]:
        return self.engine.run(self._tasks(order), self.context.stop)

    def close(self) -> None:
        self._shell.close()
        self.engine.close()
        self.tools.close()

    def _restore(self, tasks: Iterator[WindowTask | None]) -> Iterator[RestoredWindow]:
        """The device's part; the generator is loaded for the first window."""
        for task in tasks:
            if task is not None:
                # Loading and measuring a generator is not the first window's time.
                self.engine.clocks.end()
                restorer = self.tools.restorer
                self.engine.clocks.begin(task.token.name)
                yield from restorer.restore_windows(chain([task], tasks))

    def _tasks(self, order: WorkOrder) -> Iterable[Task[Outcome]]:
        match order:
            case ImageOrder():
                return (ImageTask(self.tools, item, item.attempts + 1) for item in order.items)
            case WindowOrder() if order.scene.film:
                scene, clocks = order.scene, self.engine.clocks
                return (FilmSegmentTask(self.tools, scene, i, clocks) for i in order.windows)
            case AssemblyOrder() if order.scene.film:
                return iter([FilmAssemblyTask(self.tools, order)])
            case WindowOrder():
                return (SceneWindowTask(self.tools, order.scene, i) for i in order.windows)
            case AssemblyOrder():
                return iter([AssemblyTask(self.tools, order)])

    def _commit(self, outcomes: Sequence[Outcome]) -> None:
        """Record the rows among some outcomes, all in one object."""
        rows = [outcome for outcome in outcomes if isinstance(outcome, LedgerRow)]
        if rows:
            self._objects.append(self.ledger.record(rows, f"{self._prefix}{time.time_ns():x}"))

    def _go_on(self, order: WorkOrder) -> Iterator[Outcome]:
        """An order during which this worker, or an earlier one, was killed.

        What is recorded is not done again. The rest is done one by one, each announced first, so
        that what kills the worker once more is known by name.
        """
        recorded = self.ledger.rows_of(self._prefix)
        kept = self.tools.target.list(ROWS_PREFIX + self._prefix)
        self._objects = [info.key for info in kept]
        yield from recorded
        done = {row.key for row in recorded}
        suspect, num_deaths = self._announced()
        for task in self._tasks(order):
            if task.name in done or self.context.stop():
                continue
            deaths = num_deaths if task.name == suspect else 0
            if deaths == DEADLY:
                task.refuse(_lost())
            else:
                self._announce(task.name, deaths + 1)
            yield from self.engine.run([task], self.context.stop)
        self._announce("", 0)

    def _announced(self) -> tuple[str, int]:
        """The task that the worker before this one was at alone, and how many were lost so."""
        try:
            words = json.loads(self.tools.target.read(self._announcement))
        except NotFoundError:
            return "", 0
        return str(words["task"]), int(words["deaths"])

    def _announce(self, name: str, deaths: int) -> None:
        """Say what this worker is at, and how many it will have been if this one is lost."""
        words = json.dumps({"task": name, "deaths": deaths})
        self.tools.target.write(self._announcement, words.encode())

    @property
    def _announcement(self) -> str:
        return f"{ATTEMPTS_PREFIX}{self._prefix}.json"


def _lost() -> LostWorkerError:
    return LostWorkerError(
        f"{DEADLY} workers crashed, ran out of memory or took longer than limits.seconds while "
        "they were at this input alone"
    )


def _watch(clocks: Clocks, seconds: float) -> None:
    """End this process if a stage hangs: Ray starts another, which finds the input at fault."""

    def watch() -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            name = clocks.overdue(seconds)
            if name is not None:
                _log.error("event=overdue seconds=%g task=%r", seconds, name)
                os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="ganray-watch", daemon=True).start()
