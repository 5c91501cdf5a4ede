"""Restorations one after the other in one process, on one cluster if any needs one.

    python run_restore.py '{"runs": [["few", {"source": …, "target": …}], …]}'

Started by `measuring.measure`. A run's marks are `NAME begins`, `first` and `last` with its
rows, `ends` and, once its workers are gone, `settled`.
"""

import json
import sys
import time
from contextlib import nullcontext
from typing import Any

from measuring import mark

from ganray.ledger import LedgerRow
from ganray.pipelines.restore import run_restoration
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_orders import WindowDone
from ganray.pipelines.restore_plan import RestorePlan
from ganray.pipelines.workers import ray_cluster
from ganray.storage import open_store

SETTLE_SECONDS = 2.0
LOGICAL_CPUS = 4


def main(job: dict[str, Any]) -> None:
    runs = [(name, RestoreConfig(**values)) for name, values in job["runs"]]
    largest = max((config.workers for _, config in runs), key=lambda workers: workers.max)
    with ray_cluster(largest, LOGICAL_CPUS) if largest.max else nullcontext():
        for name, config in runs:
            restore(name, config)


def restore(name: str, config: RestoreConfig) -> None:
    """One restoration with its marks; an input that fails is an error."""
    recorded: list[float] = []
    num_todo = 0

    def begin(plan: RestorePlan) -> None:
        nonlocal num_todo
        num_todo = plan.num_todo

    def report(row: LedgerRow | WindowDone) -> None:
        if isinstance(row, WindowDone):
            return
        if row.state == "failed":
            raise SystemExit(f"{row.key}: {row.reason}")
        recorded.append(row.recorded_at)
        if len(recorded) == 1:
            mark(f"{name} first")
        if len(recorded) == num_todo:
            mark(f"{name} last")

    mark(f"{name} begins")
    run_restoration(config, begin, report)
    mark(f"{name} ends", recorded=recorded, precision=chosen_precision(config))
    if config.workers.max:
        time.sleep(SETTLE_SECONDS)
    mark(f"{name} settled")


def chosen_precision(config: RestoreConfig) -> str:
    """The arithmetic that was used; what `auto` came to stands beside the generator."""
    if config.precision != "auto":
        return config.precision
    target = open_store(config.target)
    for info in target.list("_ganray/generators/"):
        if info.key.endswith(".json"):
            return str(json.loads(target.read(info.key))["precision"])
    return "float32"


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
