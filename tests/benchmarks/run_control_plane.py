"""A pool of workers that sleep, over many orders in waves.

    python run_control_plane.py '{"workers": 64, "orders": …, …}'

Started by `measuring.measure`. The workers import neither torch nor a generator, so that many
of them fit on a small machine; their rows are as large as a ledger's.
"""

import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from measuring import mark
from sleeping_worker import Sleeper, SleepingOrder

from ganray.pipelines.pool import run_pool
from ganray.pipelines.workers import WorkersConfig, ray_cluster

CPUS = 0.01


def orders(num_orders: int, per_order: int) -> Iterator[SleepingOrder]:
    for number in range(num_orders):
        first = number * per_order
        yield SleepingOrder(tuple(f"archive/roll/{first + i:09d}.jpg" for i in range(per_order)))


def run(job: dict[str, Any]) -> None:
    workers = WorkersConfig(max=job["workers"], cpus=CPUS)
    remaining = orders(job["orders"], job["per_order"])
    busy, num_rows = 0.0, 0
    seen: dict[int, list[float]] = {}
    with ray_cluster(workers, job["workers"] * CPUS):
        mark("begins", driver=time.process_time())
        while wave := list(islice(remaining, job["per_wave"])):
            for row in run_pool(Sleeper, job["seconds"], wave, workers):
                busy += row.end - row.begin
                span = seen.setdefault(row.worker, [row.begin, row.end])
                span[0], span[1] = min(span[0], row.begin), max(span[1], row.end)
                num_rows += 1
        mark(
            "ends",
            driver=time.process_time(),
            busy=busy,
            rows=num_rows,
            workers=len(seen),
            spans=sum(end - begin for begin, end in seen.values()),
        )


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
