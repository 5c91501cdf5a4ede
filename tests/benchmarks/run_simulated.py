"""Restorations by workers whose device is simulated, in this process or on Ray.

    python run_simulated.py '{"runs": [["few", {…}, {"pixels_per_second": …}], …]}'

Started by `measuring.measure`. Marks are those of `run_restore.py`; in this process `stages`
says what kept the worker's threads, in seconds.
"""

import json
import sys
from functools import partial
from typing import Any

from measuring import mark
from run_restore import LOGICAL_CPUS, restore
from simulated_device import Device, SimulatedWorker

from ganray.pipelines import restore as restore_job
from ganray.pipelines.pool import WorkerContext
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_orders import RestoreJob
from ganray.pipelines.workers import ray_cluster


def main(job: dict[str, Any]) -> None:
    runs = [
        (name, RestoreConfig(**values), Device(**device)) for name, values, device in job["runs"]
    ]
    workers = runs[0][1].workers
    if workers.max == 0:
        for name, config, device in runs:
            restore_here(name, config, device)
        return
    with ray_cluster(workers, LOGICAL_CPUS):
        for name, config, device in runs:
            restore_job.RestoreWorker = partial(SimulatedWorker, device=device)
            restore(name, config)


def restore_here(name: str, config: RestoreConfig, device: Device) -> None:
    made: list[SimulatedWorker] = []

    def make(job: RestoreJob, context: WorkerContext) -> SimulatedWorker:
        made.append(SimulatedWorker(job, context, device=device))
        return made[-1]

    restore_job.RestoreWorker = make
    restore(name, config)
    mark(f"{name} stages", **made[0].stages.by_stage)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
