"""The training job: archive → patches → the loop on N workers → a generator that restore takes.

Ray Data makes the patches and Ray Train holds the workers; the loop knows neither. Every
worker derives its part of each batch from (seed, step, rank), so that a resumed run and a
run with another number of workers learn from the same samples.
"""

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray.train
import torch
from ray.train.torch import TorchTrainer, get_device
from ray.util.queue import Empty, Queue

from ganray.errors import ConfigError, GanrayError, NotFoundError, RunFailedError
from ganray.pipelines.pool import original_error
from ganray.pipelines.train_config import TrainConfig, TrainPlan
from ganray.pipelines.train_data import DATA_CPUS
from ganray.pipelines.train_output import GENERATOR_KEY, checkpoint_step, list_checkpoints
from ganray.pipelines.train_worker import run_worker
from ganray.pipelines.workers import ray_cluster
from ganray.storage import join_uri, open_store
from ganray.training.loop import Metrics
from ganray.training.samples import Share

Report = Callable[[Metrics], None]
NUM_RESTARTS = 3


@dataclass(frozen=True)
class TrainResult:
    """Where the generator stands, and whether this run did anything."""

    generator: str
    steps_done: int
    already_finished: bool


def run_training(plan: TrainPlan, report: Report) -> TrainResult:
    """Train, or go on from the last checkpoint; a finished training is left as it is.

    `report` gets every line of metrics. Raises GanrayError.
    """
    config = plan.config
    generator = join_uri(config.output, GENERATOR_KEY)
    first_step = _prepare_output(plan)
    if first_step is None:
        return TrainResult(generator, 0, already_finished=True)
    if config.workers.max == 0:
        share = Share(0, 1, config.batch_size)
        run_worker(plan, share, _local_device(), report)
    else:
        _train_on_ray(plan, report)
    return TrainResult(generator, plan.total_steps - first_step, already_finished=False)


def _prepare_output(plan: TrainPlan) -> int | None:
    """The step to go on from, or None if the training at the output is finished."""
    config = plan.config
    if not config.resume:
        _remove_earlier(config)
        return 0
    checkpoints = list_checkpoints(config.output)
    step = checkpoint_step(checkpoints[-1]) if checkpoints else 0
    if step < plan.total_steps:
        return step
    store = open_store(config.output)
    finished = any(info.key == GENERATOR_KEY for info in store.list(GENERATOR_KEY))
    return None if finished else step


def _remove_earlier(config: TrainConfig) -> None:
    """Remove what an earlier training left at the output, but never what this one starts from."""
    if config.init_from.startswith(config.output.rstrip("/") + "/"):
        raise ConfigError(
            f"resume=false replaces {config.output}, and init_from={config.init_from} lies there; "
            "choose another output"
        )
    store = open_store(config.output)
    for prefix in ("checkpoints/", "tensorboard/", GENERATOR_KEY):
        with contextlib.suppress(NotFoundError):
            for info in list(store.list(prefix)):
                store.delete(info.key)


def _train_on_ray(plan: TrainPlan, report: Report) -> None:
    workers = plan.config.workers
    with (
        ray_cluster(workers, workers.max * (workers.cpus + DATA_CPUS * plan.config.readers)),
        tempfile.TemporaryDirectory(prefix="ganray-train-") as scratch,
        _reporting(report) as queue,
    ):
        trainer = TorchTrainer(
            _ray_worker,
            train_loop_config={"plan": plan, "queue": queue},
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers.max,
                use_gpu=workers.gpus > 0,
                resources_per_worker=workers.resources,
            ),
            # Ray Train keeps nothing of its own here: checkpoints go to the output by ganray.
            run_config=ray.train.RunConfig(
                name="ganray",
                storage_path=scratch,
                failure_config=ray.train.FailureConfig(max_failures=NUM_RESTARTS),
            ),
        )
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise _explain(error) from error


def _ray_worker(job: dict[str, Any]) -> None:
    """What Ray Train runs on every worker."""
    context = ray.train.get_context()
    plan: TrainPlan = job["plan"]
    queue: Queue = job["queue"]
    share = Share(context.get_world_rank(), context.get_world_size(), plan.config.batch_size)
    run_worker(plan, share, get_device(), queue.put)


@contextmanager
def _reporting(report: Report) -> Iterator[Queue]:
    """A queue whose metrics reach `report` on the driver, as workers log them."""
    queue = Queue(actor_options={"num_cpus": 0})
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


def _explain(error: ray.train.TrainingFailedError) -> BaseException:
    """The first worker's own error if it is one of ganray's; else a failed run."""
    failures = getattr(error, "worker_failures", None) or {}
    for failure in failures.values():
        original = original_error(failure)
        if isinstance(original, GanrayError):
            return original
    return RunFailedError(f"the training stopped: {error}")


def _local_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
