"""One restoration that notes when it first got where.

    python run_startup.py '{"stamps": "FOLDER", "config": {…}}'

Started by `startup.py`. Every stamp is an empty file whose time of change is the first time
that any process came by, so that workers on Ray leave theirs too.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path


def stamp(folder: str, name: str) -> None:
    """Note that this point was reached, unless it was reached before."""
    with suppress(FileExistsError):
        Path(folder, name).touch(exist_ok=False)


JOB = json.loads(sys.argv[1])
STAMPS: str = JOB["stamps"]

stamp(STAMPS, "python")
import torch  # noqa: E402, F401 each import is timed by itself

stamp(STAMPS, "torch imported")
import ray  # noqa: E402
import ray.data  # noqa: E402

stamp(STAMPS, "ray imported")
from ganray.pipelines import restore as restore_job  # noqa: E402
from ganray.pipelines.pool import WorkerContext  # noqa: E402
from ganray.pipelines.restore_config import RestoreConfig  # noqa: E402
from ganray.pipelines.restore_orders import Outcome, RestoreJob, WorkOrder  # noqa: E402
from ganray.pipelines.restore_worker import RestoreWorker  # noqa: E402
from ganray.restoration.canvas import RestoredWindow, WindowTask  # noqa: E402

stamp(STAMPS, "ganray imported")


class StampedWorker(RestoreWorker):
    """A restore worker that says when it was made and got its first order."""

    def __init__(self, job: RestoreJob, context: WorkerContext, *, stamps: str) -> None:
        stamp(stamps, "worker called")
        super().__init__(job, context)
        self.stamps = stamps
        stamp(stamps, "worker made")

    def run(self, order: WorkOrder) -> Iterator[Outcome]:
        stamp(self.stamps, "first order")
        yield from super().run(order)

    def _restore(self, tasks: Iterator[WindowTask | None]) -> Iterator[RestoredWindow]:
        for restored in super()._restore(tasks):
            stamp(self.stamps, "first window restored")
            yield restored

    def _commit(self, outcomes: list[Outcome]) -> None:
        super()._commit(outcomes)
        stamp(self.stamps, "first row recorded")


def main() -> None:
    start_ray = ray.init

    def stamped_init(*args: object, **kwargs: object) -> object:
        stamp(STAMPS, "ray.init called")
        context = start_ray(*args, **kwargs)
        stamp(STAMPS, "ray.init done")
        return context

    ray.init = stamped_init
    restore_job.RestoreWorker = partial(StampedWorker, stamps=STAMPS)
    restore_job.run_restoration(
        RestoreConfig(**JOB["config"]),
        lambda plan: stamp(STAMPS, "planned"),
        lambda row: stamp(STAMPS, "first row reported"),
    )
    stamp(STAMPS, "run ended")


if __name__ == "__main__":
    main()
