"""A training on Ray Train's workers, as many as there are room for, for as long as it takes.

Ray Train starts a group of workers, and another one when the cluster grows or shrinks. A group
that lost a worker is started anew from here, because only ganray can tell a lost worker from a
bug: a bug would be repeated, and is raised at once.
"""

import logging
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import ray.exceptions
import ray.train
from ray.train.torch import TorchTrainer, get_device
from ray.util.queue import Empty, Queue

from ganray.errors import GanrayError, LostPeerError, RunFailedError
from ganray.pipelines.pool import original_error
from ganray.pipelines.run_log import log_worker
from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.train_config import TrainPlan
from ganray.pipelines.train_data import DATA_CPUS
from ganray.pipelines.train_output import Report
from ganray.pipelines.train_signals import Link, WatchedBoard, Wishes, shown_wishes
from ganray.pipelines.train_worker import WorkerPlace, run_worker
from ganray.pipelines.workers import beside_driver, ray_cluster
from ganray.training.reactions import Event
from ganray.training.samples import Share

NUM_RESTARTS = 3
"""Without a new checkpoint in between: a machine that is taken away is not a mistake."""
RESTART_PAUSE_SECONDS = 3.0
"""Until Ray knows which machines are gone; it would wait a minute for those."""
RESIZE_SECONDS = 60.0
"""Between two looks whether the cluster has room for more workers; each change costs the steps
since the last checkpoint."""

_log = logging.getLogger(__name__)


class Course(Protocol):
    """What was heard of a training."""

    stored_step: int
    run_id: str

    def hear(self, line: Mapping[str, Any]) -> None: ...

    def flush(self) -> None: ...


def train_on_ray(
    plan: TrainPlan,
    course: Course,
    wishes: Wishes,
    stop: GracefulStop,
    notes: tuple[Event, ...],
) -> None:
    """Train on workers.min to workers.max workers until the end, or until `stop`.

    Raises the worker's own error if it is one of ganray's, and RunFailedError for others and
    where workers are lost again and again without a checkpoint in between.
    """
    workers = plan.config.workers
    num_cpus = workers.max * _resources(plan)["CPU"]
    with ExitStack() as cluster:
        cluster.enter_context(ray_cluster(workers, num_cpus))
        # The last events are heard as the queue ends, and without the cluster told to nobody.
        cluster.callback(course.flush)
        if stop.is_listening:
            stop.listen()
        num_losses, stored = 0, course.stored_step
        with shown_wishes(wishes) as board, _reporting(course.hear) as queue:
            while not wishes.wish().stop:
                job = {"plan": plan, "queue": queue, "board": board, "notes": notes}
                job["run_id"] = course.run_id
                try:
                    _fit(plan, job)
                    return
                except ray.train.TrainingFailedError as error:
                    lost = _explain_loss(error)
                num_losses = 1 if course.stored_step > stored else num_losses + 1
                stored = course.stored_step
                _log.warning("event=worker_lost losses=%d cause=%r", num_losses, lost)
                if num_losses > NUM_RESTARTS:
                    raise RunFailedError(
                        f"workers were lost {num_losses} times without a checkpoint in between, "
                        f"the last time: {lost}. The last checkpoint is that of step {stored}; "
                        "lower checkpoint_every, or look for the cause in Ray's logs, and run the "
                        "same command again to go on"
                    )
                notes = ({"event": "worker_lost", "cause": lost},)
                threading.Event().wait(RESTART_PAUSE_SECONDS)


def _fit(plan: TrainPlan, job: dict[str, Any]) -> None:
    workers = plan.config.workers
    with tempfile.TemporaryDirectory(prefix="ganray-train-") as scratch:
        trainer = TorchTrainer(
            _ray_worker,
            train_loop_config=job,
            scaling_config=ray.train.ScalingConfig(
                num_workers=(max(1, workers.min), workers.max),
                use_gpu=workers.gpus > 0,
                resources_per_worker=_resources(plan),
                elastic_resize_monitor_interval_s=RESIZE_SECONDS,
            ),
            # Ray Train keeps nothing of its own here: checkpoints go to the output by ganray.
            run_config=ray.train.RunConfig(
                name="ganray-train",
                storage_path=scratch,
                failure_config=ray.train.FailureConfig(max_failures=0, max_preemption_failures=0),
            ),
        )
        trainer.fit()


def _resources(plan: TrainPlan) -> dict[str, float]:
    """What one worker and the actors that feed it ask of Ray together."""
    workers = plan.config.workers
    return workers.resources | {"CPU": workers.cpus + DATA_CPUS * plan.config.readers}


def _ray_worker(job: dict[str, Any]) -> None:
    """What Ray Train runs on every worker."""
    log_worker(job["run_id"])
    context = ray.train.get_context()
    plan: TrainPlan = job["plan"]
    share = Share(context.get_world_rank(), context.get_world_size(), plan.config.batch_size)
    link = Link(job["queue"].put, WatchedBoard(job["board"]).wish)
    run_worker(plan, WorkerPlace(share, get_device(), link), job["notes"])


@contextmanager
def _reporting(report: Report) -> Iterator[Queue]:
    """A queue whose lines reach `report` on the driver, as workers log them."""
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": beside_driver()})
    done = threading.Event()

    def drain() -> None:
        while not (done.is_set() and queue.empty()):
            try:
                report(queue.get(timeout=0.5))
            except Empty:
                continue

    thread = threading.Thread(target=drain, name="ganray-metrics", daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        done.set()
        thread.join(timeout=10)


def _explain_loss(error: ray.train.TrainingFailedError) -> str:
    """What is known of lost workers; whatever else failed is raised."""
    failures = list((getattr(error, "worker_failures", None) or {}).values())
    for failure in failures:
        if not _is_loss(failure):
            original = original_error(failure)
            if isinstance(original, GanrayError):
                raise original from error
            raise RunFailedError(f"the training stopped: {error}") from error
    if not failures:
        raise RunFailedError(f"the training stopped: {error}") from error
    # Ray's own words say more than a peer's that was cut off.
    first = next((f for f in failures if not isinstance(f, LostPeerError)), failures[0])
    return " ".join(str(first).split())[:300]


def _is_loss(failure: BaseException) -> bool:
    """Whether a worker failed for want of another process, of its own or at all."""
    original = original_error(failure)
    if isinstance(original, GanrayError):
        return isinstance(original, LostPeerError)
    if isinstance(failure, ray.exceptions.RayTaskError):
        return False
    return type(failure).__module__.partition(".")[0] == "ray"
