"""A pool of workers over work orders: in this process, or by Ray Data over a cluster.

Work orders travel, pixels do not: a row of a few hundred bytes goes to an actor, and rows
about its outcome come back.
"""

import logging
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray
import ray.data
import ray.exceptions

from ganray.errors import GanrayError, RunFailedError
from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.workers import WorkersConfig, beside_driver, ray_cluster

JobT = TypeVar("JobT", contravariant=True)
OrderT = TypeVar("OrderT", contravariant=True)
RowT = TypeVar("RowT", covariant=True)

# Ray Data retries for ever by default: an order that kills its worker would never end. Workers
# may be lost as often as spot nodes are; the same order may not. A worker that is started anew
# finds the input at fault at its second death, so that this allows for four of them in one order.
MAX_TASK_RETRIES = 8
# Orders that wait at a worker, so that it never waits for the driver.
TASKS_IN_FLIGHT = 2
STOP_POLL_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerContext:
    """Where a worker runs. `restarted` says that an earlier one may have done part of an order,
    `stop` whether the run is to end: a worker then begins nothing more."""

    in_process: bool
    restarted: bool
    stop: Callable[[], bool]


class Worker(Protocol[OrderT, RowT]):
    """Holds what is costly to load; turns one order into rows. An order may be run twice."""

    def run(self, order: OrderT) -> Iterator[RowT]: ...

    def close(self) -> None: ...


class WorkerFactory(Protocol[JobT, OrderT, RowT]):
    """Makes a worker."""

    def __call__(self, job: JobT, context: WorkerContext) -> Worker[OrderT, RowT]: ...


def run_pool(
    factory: WorkerFactory[JobT, OrderT, RowT],
    job: JobT,
    orders: Sequence[OrderT],
    workers: WorkersConfig,
    stop: GracefulStop | None = None,
) -> Iterator[RowT]:
    """Yield every row of every order, as they come. Raises RunFailedError if a worker is lost
    for good. After `stop`, orders end early or yield nothing."""
    if not orders:
        return iter(())
    if workers.max == 0:
        return _run_here(factory, job, orders, stop or GracefulStop())
    return _run_on_ray(factory, job, orders, workers, stop)


def _run_here(
    factory: WorkerFactory[JobT, OrderT, RowT],
    job: JobT,
    orders: Sequence[OrderT],
    stop: GracefulStop,
) -> Iterator[RowT]:
    worker = factory(job, WorkerContext(in_process=True, restarted=False, stop=stop.is_set))
    try:
        for order in orders:
            if not stop.is_set():
                yield from worker.run(order)
    finally:
        worker.close()


def _run_on_ray(
    factory: WorkerFactory[JobT, OrderT, RowT],
    job: JobT,
    orders: Sequence[OrderT],
    workers: WorkersConfig,
    stop: GracefulStop | None,
) -> Iterator[RowT]:
    num_workers = min(workers.max, len(orders))
    with ray_cluster(workers, num_workers * workers.cpus), _StopRelay(stop) as relay:
        dataset = ray.data.from_items(
            [{"order": pickle.dumps(order)} for order in orders], override_num_blocks=len(orders)
        )
        outcomes = dataset.map_batches(
            GanrayWorker,
            fn_constructor_args=(factory, job, relay.actor),
            # Ray Data takes no other word for a whole block, of one order, where there are GPUs.
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                min_size=min(workers.min, num_workers),
                max_size=num_workers,
                max_tasks_in_flight_per_actor=TASKS_IN_FLIGHT,
            ),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
            max_task_retries=MAX_TASK_RETRIES,
        )
        outcomes.set_name(_shown_name(factory))
        try:
            for row in outcomes.iter_rows():
                yield pickle.loads(row["row"])
        except ray.exceptions.RayTaskError as error:
            raise original_error(error) from error
        except ray.exceptions.RayError as error:
            raise RunFailedError(
                f"workers were lost {MAX_TASK_RETRIES + 1} times on the same order: {error}. What "
                "is recorded stays done; run the same command again to go on"
            ) from error


def _shown_name(factory: WorkerFactory[JobT, OrderT, RowT]) -> str:
    """What Ray's dashboard calls the pool's work: ganray-restore of a RestoreWorker."""
    name: str = getattr(factory, "__name__", "pool")
    return f"ganray-{name.removesuffix('Worker').lower()}"


class GanrayWorker(Generic[JobT, OrderT, RowT]):
    """What Ray Data calls: batches of pickled orders in, batches of pickled rows out.

    Ray's dashboard shows this name."""

    def __init__(
        self, factory: WorkerFactory[JobT, OrderT, RowT], job: JobT, stop_flag: Any
    ) -> None:
        with warnings.catch_warnings():
            # Ray warns of its own use of an old name, in the log of every job.
            warnings.simplefilter("ignore", DeprecationWarning)
            restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self.stopped = _RemoteFlag(stop_flag)
        # Sent to a worker itself by the hook of a node that is about to be taken away.
        self.leaving = GracefulStop()
        self.leaving.listen()
        self.worker = factory(job, WorkerContext(False, restarted, self.stop))

    def stop(self) -> bool:
        return self.stopped.is_set() or self.leaving.is_set()

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        for pickled in batch["order"]:
            if self.stopped.is_set():
                return
            for row in self.worker.run(pickle.loads(pickled)):
                yield {"row": [pickle.dumps(row)]}
            if self.leaving.is_set():
                # Not in good order: then Ray gives the rest of the order to another worker.
                os.kill(os.getpid(), signal.SIGKILL)


class _StopFlag:
    """The driver's wish to stop, where every worker can ask for it."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set


class _StopRelay:
    """Carries a driver's `GracefulStop` over to a flag on the cluster."""

    def __init__(self, stop: GracefulStop | None) -> None:
        self._stop = stop or GracefulStop()
        self._is_over = threading.Event()
        self.actor: Any = None

    def __enter__(self) -> "_StopRelay":
        if self._stop.is_listening:
            self._stop.listen()
        # On a spot worker it would be lost while the driver lives, and no worker hear of a stop.
        flag = ray.remote(num_cpus=0)(_StopFlag)
        self.actor = flag.options(scheduling_strategy=beside_driver()).remote()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def _watch(self) -> None:
        while not self._is_over.wait(0.2):
            if self._stop.is_set():
                self.actor.set.remote()
                return


class _RemoteFlag:
    """The flag as a worker sees it: asked for now and then, known at once."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._is_set = False
        threading.Thread(target=self._watch, name="ganray-stop", daemon=True).start()

    def is_set(self) -> bool:
        return self._is_set

    def _watch(self) -> None:
        while not self._is_set:
            time.sleep(STOP_POLL_SECONDS)
            try:
                self._is_set = bool(ray.get(self._actor.is_set.remote()))
            except ray.exceptions.RayError as error:
                # The driver is gone, and Ray ends this process with it.
                _log.warning("event=stop_flag_lost cause=%r", str(error))
                return


def original_error(error: BaseException) -> BaseException:
    """The error of ganray's that a worker raised; another one is a bug and stays what it is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GanrayError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return error
