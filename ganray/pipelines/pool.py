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
from ray.data._internal.execution.execution_callback import ExecutionCallback

from ganray.errors import GanrayError, RunFailedError
from ganray.pipelines.board import Beginning, RemoteFlag, StopRelay, ask
from ganray.pipelines.node_watch import can_hold
from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.workers import WorkersConfig, ray_cluster

JobT = TypeVar("JobT", contravariant=True)
OrderT = TypeVar("OrderT", contravariant=True)
RowT = TypeVar("RowT", covariant=True)

# Orders that wait at a worker, so that it never waits for the driver.
TASKS_IN_FLIGHT = 2
# Orders of one pipeline of Ray Data: enough that its start and its end, when workers wait for the
# last, do not count, few enough that the driver's memory stays flat.
ORDERS_PER_WAVE = 1024
ORDERS_PER_WAVE_AND_WORKER = 64
# Workers may be lost as often as spot nodes are; the same order may not. A worker that is started
# anew finds the input at fault at its second death, so that this allows for four of them in one
# order. Counted by the board: of Ray's own retries a lost node takes one a second until it is
# noticed.
MAX_ORDER_LOSSES = 8

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


def orders_per_wave(workers: WorkersConfig) -> int:
    """How many orders to give to a pool at once, of more than the driver should hold."""
    return max(ORDERS_PER_WAVE, ORDERS_PER_WAVE_AND_WORKER * workers.max)


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
            fn_constructor_args=(factory, job, relay.board, MAX_ORDER_LOSSES),
            # Ray Data takes no other word for a whole block, of one order, where there are GPUs.
            batch_size=1,
            # Of a fixed size: all workers that the orders are worth are asked for at once, begin
            # when there is room for each, and Ray Data takes none away before no order waits. From
            # a minimum upward it asks for twice as many every ten seconds, and for none before the
            # first order has ended.
            compute=ray.data.ActorPoolStrategy(
                size=num_workers, max_tasks_in_flight_per_actor=TASKS_IN_FLIGHT
            ),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
        )
        outcomes.set_name(_shown_name(factory))
        try:
            yield from _rows(outcomes, relay)
        except ray.exceptions.RayTaskError as error:
            raise original_error(error) from error
        except ray.exceptions.RayError as error:
            raise RunFailedError(f"workers were lost: {error}. {_GO_ON}") from error


def _rows(outcomes: ray.data.Dataset, relay: StopRelay) -> Iterator[Any]:
    """What workers tell. After a stop only until all that they have in hand is over: for a worker
    that is lost there may be no other, and Ray Data would take a second for each hundred orders
    that are not begun."""
    over: set[int] = set()
    ends_early = EndsEarly(lambda: relay.has_ended(over))
    outcomes.context.custom_execution_callback_classes = [ends_early]
    for told in outcomes.iter_rows():
        if told["over"] >= 0:
            over.add(told["over"])
        else:
            yield pickle.loads(told["row"])


class EndsEarly(ExecutionCallback):  # type: ignore[misc] # Ray Data's internals have no types
    """Asked by Ray Data's own loop whether to end, since none of its rows may come any more.

    Ray Data calls what it takes for a class, to make a callback of it, and sends its settings to
    every worker: there this does nothing.
    """

    def __init__(self, has_ended: Callable[[], bool]) -> None:
        self._has_ended = has_ended

    def __call__(self) -> "EndsEarly":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return ExecutionCallback, ()

    def on_execution_step(self, executor: object) -> None:
        if self._has_ended():
            # To whoever iterates over the rows, their end.
            raise StopIteration


def _warn_of_no_room(workers: WorkersConfig) -> None:
    """Say that a run waits for nodes: an autoscaler may add them, or nobody will."""
    if not any(can_hold(node, workers.resources) for node in ray.nodes()):
        asked = " ".join(f"{name}={number:g}" for name, number in workers.resources.items())
        _log.warning("event=waiting_for_nodes %s", asked)


def _shown_name(factory: WorkerFactory[JobT, OrderT, RowT]) -> str:
    """What Ray's dashboard calls the pool's work: ganray-restore of a RestoreWorker."""
    name: str = getattr(factory, "__name__", "pool")
    return f"ganray-{name.removesuffix('Worker').lower()}"


class GanrayWorker(Generic[JobT, OrderT, RowT]):
    """What Ray Data calls: batches of pickled orders in, batches of pickled rows out.

    Ray's dashboard shows this name."""

    def __init__(
        self,
        factory: WorkerFactory[JobT, OrderT, RowT],
        job: JobT,
        board: Any,
        max_losses: int,
    ) -> None:
        with warnings.catch_warnings():
            # Ray warns of its own use of an old name, in the log of every job.
            warnings.simplefilter("ignore", DeprecationWarning)
            restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self.board = board
        self.max_losses = max_losses
        self.stopped = RemoteFlag(board)
        # Sent to a worker itself by the hook of a node that is about to be taken away.
        self.leaving = GracefulStop()
        self.leaving.listen()
        self.worker: Worker[OrderT, RowT] | GanrayError
        try:
            self.worker = factory(job, WorkerContext(False, restarted, self.stop))
        except GanrayError as error:
            # Raised with the first order: of what a constructor raises Ray keeps the words alone.
            self.worker = error

    def stop(self) -> bool:
        return self.stopped.is_set() or self.leaving.is_set()

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """The rows of an order, each by itself, and one that says that it is over."""
        if isinstance(self.worker, GanrayError):
            raise self.worker
        for number, pickled in zip(batch["number"], batch["order"], strict=True):
            self._leave_if_told()
            if self._begin(int(number)):
                for row in self.worker.run(pickle.loads(pickled)):
                    yield {"row": [pickle.dumps(row)], "over": [-1]}
            self._leave_if_told()
            yield {"row": [b""], "over": [int(number)]}

    def _leave_if_told(self) -> None:
        """End this process, and not in good order: then Ray gives the order, or its rest, to
        another worker. Of a pool that is stopped nobody needs the rest."""
        if self.leaving.is_set() and not self.stopped.is_set():
            os.kill(os.getpid(), signal.SIGKILL)

    def _begin(self, number: int) -> bool:
        """Whether an order may begin. Raises RunFailedError if too many workers were lost with
        it."""
        beginning: Beginning = ask(self.board.begin, number, self.stopped.worker)
        if beginning.losses > self.max_losses:
            raise RunFailedError(
                f"workers were lost {beginning.losses} times on the same order. {_GO_ON}"
            )
        return not beginning.is_stopped


def original_error(error: BaseException) -> BaseException:
    """The error of ganray's that a worker raised; another one is a bug and stays what it is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GanrayError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return error
