"""The workers of a job: how many, how large, and the Ray cluster that holds them."""

import json
import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import ray
import ray.data
from pydantic import Field, model_validator
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ganray.config import Section
from ganray.errors import ConfigError, RunFailedError

NotNegative = Annotated[int, Field(ge=0)]
HEAD_SECONDS = 20.0
CONNECT_SECONDS = 5.0
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""By which Ray's job server tells the process that it starts of its job."""

_WAY_OUT = "Check RAY_ADDRESS, HOST:6379 of a head, or unset it to run on this machine"


class WorkersConfig(Section):
    """A pool of workers. An autoscaling cluster is asked for as many as there is work for."""

    min: NotNegative = 1
    """With how few workers a training goes on where the cluster has no room for more, 1 at least.
    A restoration or an evaluation begins with the first that there is room for."""
    max: NotNegative = 2
    """Workers at most; 0 runs everything in this process, without Ray."""
    cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPUs of each worker."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of each worker."""

    @model_validator(mode="after")
    def _min_is_not_above_max(self) -> "WorkersConfig":
        if self.max and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self

    @property
    def resources(self) -> dict[str, float]:
        """What one worker asks of Ray."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})

    @property
    def num_threads(self) -> int:
        """Threads of arithmetic in one worker."""
        return max(1, int(self.cpus))


@contextmanager
def ray_cluster(workers: WorkersConfig, num_cpus: float) -> Iterator[None]:
    """Connect to the cluster that RAY_ADDRESS names, or start a private one and stop it again.

    A private cluster has at least `num_cpus` logical CPUs, so that a job on a laptop does not
    wait for cores that it merely shares.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "")
    _require_head(address)
    # On a cluster the workers' warnings belong into the log of the job.
    is_shared = bool(address)
    quiet = {"logging_level": logging.ERROR, "log_to_driver": is_shared}
    try:
        if is_shared:
            ray.init(**quiet)
        else:
            logical = max(os.cpu_count() or 1, int(num_cpus + 0.999))
            ray.init(address="local", num_cpus=logical, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunFailedError(f"no Ray cluster: {error}. {_WAY_OUT}") from error
    _configure_ray_data()
    try:
        _require_gpus(workers)
        yield
    finally:
        ray.shutdown()


@contextmanager
def shared_cluster(workers: WorkersConfig) -> Iterator[None]:
    """Stay connected to the cluster that RAY_ADDRESS names, so that what this process exports is
    seen even where it has no work; nothing where none is named, or `workers.max` is 0."""
    if workers.max and os.environ.get("RAY_ADDRESS"):
        with ray_cluster(workers, 0):
            yield
    else:
        yield


def submission_id() -> str:
    """Under which id this process was submitted to Ray's job server; empty if it was not."""
    given = json.loads(os.environ.get(JOB_VARIABLE, "{}"))
    return str(given.get("metadata", {}).get("job_submission_id", ""))


def beside_driver() -> NodeAffinitySchedulingStrategy:
    """For an actor that must not be lost with a worker's machine."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _require_head(address: str) -> None:
    """Raise RunFailedError where nobody listens: Ray would try for minutes. A head that is being
    started has HEAD_SECONDS."""
    if address.startswith(("http://", "https://")):
        raise RunFailedError(
            f"RAY_ADDRESS={address} is of Ray's job server, which `ray job` alone takes. {_WAY_OUT}"
        )
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "/" in host:
        return
    deadline = time.monotonic() + HEAD_SECONDS
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > deadline:
                raise RunFailedError(
                    f"no Ray head answers at RAY_ADDRESS={address}: {error}. {_WAY_OUT}"
                ) from error
            time.sleep(1)


def _configure_ray_data() -> None:
    """Ray Data's own bars and plans would bury the job's progress."""
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # By default half an hour without progress fails a run, and one that begins with no worker may
    # wait longer for spot machines. A run that stands still is seen by the alert.
    context.execution_no_progress_timeout_s = -1
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _require_gpus(workers: WorkersConfig) -> None:
    """On a machine of one's own nobody will add the GPUs that are missing."""
    found = ray.cluster_resources().get("GPU", 0)
    if workers.gpus > found and not os.environ.get("RAY_ADDRESS"):
        raise ConfigError(
            f"workers.gpus={workers.gpus:g} and this machine has {found:g}; set workers.gpus=0, or "
            "RAY_ADDRESS to a cluster with GPUs"
        )
