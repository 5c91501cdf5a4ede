"""A worker that sleeps, for pools larger than a small machine could hold of real ones."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ganray.pipelines.pool import WorkerContext

ROW_BYTES = 500


@dataclass(frozen=True, slots=True)
class SleepingOrder:
    """Inputs of one order, by key, as long as those of an archive."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slept:
    """One input's row: its worker, when it began, and when it ended."""

    key: str
    worker: int
    begin: float
    end: float
    rest: bytes


class Sleeper:
    """A worker that takes a given time for each input, and none of the CPU's."""

    def __init__(self, job: float, context: WorkerContext) -> None:
        self.seconds = job

    def run(self, order: SleepingOrder) -> Iterator[Slept]:
        for key in order.keys:
            begin = time.time()
            time.sleep(self.seconds)
            yield Slept(key, os.getpid(), begin, time.time(), bytes(ROW_BYTES))

    def close(self) -> None:
        pass
