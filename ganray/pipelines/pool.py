"""A pool of workers over work orders: in this process, or by Ray Data over a cluster.

Work orders travel, pixels do not: a row of a few hundred bytes goes to an actor, and rows
about its outcome come back.
"""

import logging
import os
import pickle
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray
import ray.data
import ray.exceptions

from ganray.errors import GanrayError, RunFailedError
from ganray.pipelines.board import STOPPED, RemoteFlag, StopRelay
from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.workers import WorkersConfig, ray_cluster

JobT = TypeVar("JobT", contravariant=True)
OrderT = TypeVar("OrderT", contravariant=True)
RowT = TypeVar("RowT", covariant=True)

# Orders that wait at a worker, so that it never waits for the driver.
TASKS_IN_FLIGHT = 2

_GO_ON = "What is recorded stays done; run the same command again to go on"

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
    with ray_cluster(workers, num_workers * workers.cpus), StopRelay(stop) as relay:
        _warn_of_no_room(workers)
        dataset = ray.data.from_items(
            [{"number": i, "order": pickle.dumps(order)} for i, order in enumerate(orders)],
            override_num_blocks=len(orders),
        )
        outcomes = dataset.map_batches(
            GanrayWorker,
            fn_constructor_args=(factory, job, relay.board),
            # Ray Data takes no other word for a whole block, of one order, where there are GPUs.
            batch_size=1,
            # Of a fixed size: all workers that the orders are worth are asked for at once, begin
            # when there is room for each, and none is taken away with an order in hand. From a
            # minimum upward Ray Data asks for twice as many every ten seconds, and for none
            # before the first order has ended.
            compute=ray.data.ActorPoolStrategy(
                size=num_workers, max_tasks_in_flight_per_actor=TASKS_IN_FLIGHT
            ),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
            max_task_retries=-1,
        )
        outcomes.set_name(_shown_name(factory))
        try:
            yield from _rows(outcomes, relay)
        except ray.exceptions.RayTaskError as error:
            raise original_error(error) from error
        except ray.exceptions.RayError as error:
            raise RunFailedError(f"workers were lost: {error}. {_GO_ON}") from error


def _rows(outcomes: ray.data.Dataset, relay: StopRelay) -> Iterator[Any]:
    """What workers tell; after a stop only until every order that was begun is over, since Ray Data
    would take a second for each hundred of the others."""
    over: set[int] = set()
    begun: set[int] | None = None
    for told in outcomes.iter_rows():
        if told["over"] < 0:
            yield pickle.loads(told["row"])
            continue
        over.add(told["over"])
        if begun is None and relay.is_told:
            begun = ray.get(relay.board.begun.remote())
        if begun is not None and begun <= over:
            return


def _warn_of_no_room(workers: WorkersConfig) -> None:
    """Say that a run waits for nodes: an autoscaler may add them, or nobody will."""
    found = ray.cluster_resources()
    lacking = [name for name, number in workers.resources.items() if found.get(name, 0) < number]
    if lacking:
        asked = " ".join(f"{name}={workers.resources[name]:g}" for name in lacking)
        _log.warning("event=waiting_for_nodes %s", asked)


def _shown_name(factory: WorkerFactory[JobT, OrderT, RowT]) -> str:
    """What Ray's dashboard calls the pool's work: ganray-restore of a RestoreWorker."""
    name: str = getattr(factory, "__name__", "pool")
    return f"ganray-{name.removesuffix('Worker').lower()}"


class GanrayWorker(Generic[JobT, OrderT, RowT]):
    """What Ray Data calls: batches of pickled orders in, batches of pickled rows out.

    Ray's dashboard shows this name."""

    def __init__(self, factory: WorkerFactory[JobT, OrderT, RowT], job: JobT, board: Any) -> None:
        with warnings.catch_warnings():
            # Ray warns of its own use of an old name, in the log of every job.
            warnings.simplefilter("ignore", DeprecationWarning)
            restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self.board = board
        self.stopped = RemoteFlag(board)
        # Sent to a worker itself by the hook of a node that is about to be taken away.
        self.leaving = GracefulStop()
        self.leaving.listen()
        self.worker = factory(job, WorkerContext(False, restarted, self.stop))

    def stop(self) -> bool:
        return self.stopped.is_set() or self.leaving.is_set()

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """The rows of an order, each by itself, and one that says that it is over."""
        for number, pickled in zip(batch["number"], batch["order"], strict=True):
            if self._may_begin(int(number)):
                for row in self.worker.run(pickle.loads(pickled)):
                    yield {"row": [pickle.dumps(row)], "over": [-1]}
            if self.leaving.is_set():
                # Not in good order: then Ray gives the rest of the order to another worker.
                os.kill(os.getpid(), signal.SIGKILL)
            yield {"row": [b""], "over": [int(number)]}

    def _may_begin(self, number: int) -> bool:
        """Raise RunFailedError if too many workers were lost with this order."""
        losses = ray.get(self.board.begin.remote(number))
        if losses > 0:
            raise RunFailedError(f"workers were lost {losses} times on the same order. {_GO_ON}")
        return bool(losses != STOPPED)


def original_error(error: BaseException) -> BaseException:
    """The error of ganray's that a worker raised; another one is a bug and stays what it is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GanrayError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return error
