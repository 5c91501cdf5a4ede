"""A pool of workers over work orders: in this process, or by Ray Data over a cluster.

Work orders travel, pixels do not: a row of a few hundred bytes goes to an actor, and a row
about its outcome comes back.
"""

import pickle
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import ray
import ray.data
import ray.exceptions

from ganray.errors import GanrayError, RunFailedError
from ganray.pipelines.workers import WorkersConfig, ray_cluster

JobT = TypeVar("JobT", contravariant=True)
OrderT = TypeVar("OrderT", contravariant=True)
RowT = TypeVar("RowT", covariant=True)

# Ray Data retries for ever by default: an order that kills its worker would never end. Workers
# may be lost as often as spot nodes are; the same order may not.
MAX_TASK_RETRIES = 2


class Worker(Protocol[OrderT, RowT]):
    """Holds what is costly to load; turns one order into rows. An order may be run twice."""

    def run(self, order: OrderT) -> Iterator[RowT]: ...


class WorkerFactory(Protocol[JobT, OrderT, RowT]):
    """Makes a worker; `restarted` says that an earlier one may have done part of an order."""

    def __call__(self, job: JobT, *, restarted: bool = False) -> Worker[OrderT, RowT]: ...


def run_pool(
    factory: WorkerFactory[JobT, OrderT, RowT],
    job: JobT,
    orders: Sequence[OrderT],
    workers: WorkersConfig,
) -> Iterator[RowT]:
    """Yield every row of every order, as they come. Raises RunFailedError if a worker is lost
    for good."""
    if workers.max == 0 or not orders:
        worker = factory(job)
        for order in orders:
            yield from worker.run(order)
        return
    num_workers = min(workers.max, len(orders))
    with ray_cluster(workers, num_workers * workers.cpus):
        dataset = ray.data.from_items(
            [{"order": pickle.dumps(order)} for order in orders], override_num_blocks=len(orders)
        )
        outcomes = dataset.map_batches(
            _PoolActor,
            fn_constructor_args=(factory, job),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(
                min_size=min(workers.min, num_workers), max_size=num_workers
            ),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
            max_task_retries=MAX_TASK_RETRIES,
        )
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


class _PoolActor(Generic[JobT, OrderT, RowT]):
    """What Ray Data calls: batches of pickled orders in, batches of pickled rows out."""

    def __init__(self, factory: WorkerFactory[JobT, OrderT, RowT], job: JobT) -> None:
        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self.worker = factory(job, restarted=restarted)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        for pickled in batch["order"]:
            for row in self.worker.run(pickle.loads(pickled)):
                yield {"row": [pickle.dumps(row)]}


def original_error(error: BaseException) -> BaseException:
    """The error of ganray's that a worker raised; another one is a bug and stays what it is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GanrayError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return error
