"""A restore worker whose generator is a clock: it takes time, and none of the CPU's.

Everything else is the worker's own: reading, decoding, queues, encoding, writing, recording.
Magnification is 1, and the pixels come back as they were.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ganray.pipelines.budget import Budget
from ganray.pipelines.image_task import ImageTask
from ganray.pipelines.overlap import Task
from ganray.pipelines.pool import WorkerContext
from ganray.pipelines.restore_orders import (
    ImageOrder,
    Outcome,
    Pending,
    RestoreJob,
    WorkOrder,
)
from ganray.pipelines.restore_worker import RestoreWorker
from ganray.raster.windows import crop
from ganray.restoration.canvas import RestoredWindow, WindowTask
from ganray.restoration.guard import TrustMeter
from ganray.storage import ObjectInfo, Store

BATCHES_AHEAD = 1


def sleep_for(seconds: float) -> None:
    """Sleep until then, however late the scheduler wakes a sleeper."""
    sleep_until(time.perf_counter() + seconds)


def sleep_until(moment: float) -> None:
    while (left := moment - time.perf_counter()) > 0:
        time.sleep(left)


@dataclass(frozen=True)
class Device:
    """A device's speed, and how it is fed.

    It takes batches of `batch_windows`, one behind the other, and a batch that is not full
    takes as long as a full one: that is how `BatchStream` feeds a GPU. Every request to a
    store takes `latency_seconds` more.
    """

    pixels_per_second: float
    batch_windows: int = 1
    latency_seconds: float = 0.0


class StageSeconds:
    """Seconds that threads spent in each stage, added up."""

    def __init__(self) -> None:
        self.by_stage: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.by_stage[stage] += time.perf_counter() - begin


class SimulatedWorker(RestoreWorker):
    """A restore worker with a simulated device; `stages` says what kept its threads."""

    def __init__(self, job: RestoreJob, context: WorkerContext, *, device: Device) -> None:
        # Decoders in the worker itself, as they are on Ray.
        super().__init__(job, WorkerContext(False, False, context.stop))
        self.device = device
        self.stages = StageSeconds()
        if device.latency_seconds:
            self.tools.source = DistantStore(self.tools.source, device.latency_seconds)
            self.tools.target = DistantStore(self.tools.target, device.latency_seconds)
            self.ledger.store = self.tools.target

    def _restore(self, tasks: Iterator[WindowTask | None]) -> Iterator[RestoredWindow]:
        return DeviceStream(self.device, self.stages).run(tasks)

    def _tasks(self, order: WorkOrder) -> Iterable[Task[Outcome]]:
        assert isinstance(order, ImageOrder)
        return (TimedTask(self, item) for item in order.items)

    def _commit(self, outcomes: Sequence[Outcome]) -> None:
        with self.stages.of("commit"):
            super()._commit(outcomes)


class TimedTask(ImageTask):
    """An image whose loading and storing is timed."""

    def __init__(self, worker: SimulatedWorker, item: Pending) -> None:
        super().__init__(worker.tools, item, attempts=1)
        self.stages = worker.stages

    def load(self, budget: Budget) -> None:
        with self.stages.of("read"):
            super().load(budget)

    def store(self) -> Outcome:
        with self.stages.of("write"):
            return super().store()


@dataclass(frozen=True)
class _Batch:
    tasks: list[WindowTask]
    ready_at: float


class DeviceStream:
    """`BatchStream` with a clock in place of its generator."""

    def __init__(self, device: Device, stages: StageSeconds) -> None:
        self.device = device
        self.stages = stages
        self._waiting: list[WindowTask] = []
        self._launched: deque[_Batch] = deque()
        self._free_at = 0.0

    def run(self, tasks: Iterator[WindowTask | None]) -> Iterator[RestoredWindow]:
        for task in tasks:
            if task is None:
                yield from self._flush()
                continue
            self._waiting.append(task)
            if len(self._waiting) == self.device.batch_windows:
                yield from self._launch()
        yield from self._flush()

    def _flush(self) -> Iterator[RestoredWindow]:
        if self._waiting:
            yield from self._launch()
        while self._launched:
            yield from self._land(self._launched.popleft())

    def _launch(self) -> Iterator[RestoredWindow]:
        tasks, self._waiting = self._waiting, []
        num_pixels = max(task.window.read.num_pixels for task in tasks)
        seconds = self.device.batch_windows * num_pixels / self.device.pixels_per_second
        self._free_at = max(self._free_at, time.perf_counter()) + seconds
        self.stages.by_stage["device"] += seconds
        self._launched.append(_Batch(tasks, self._free_at))
        while len(self._launched) > BATCHES_AHEAD:
            yield from self._land(self._launched.popleft())

    def _land(self, batch: _Batch) -> Iterator[RestoredWindow]:
        sleep_until(batch.ready_at)
        for task in batch.tasks:
            window = task.window
            pixels = crop(task.pixels, window.core.shift(window.read.top, window.read.left))
            bands = pixels.shape[0]
            meter = TrustMeter(bands)
            no_change = np.zeros(5 + bands, np.float32)
            meter.add_sums(list(range(bands)), no_change, pixels.size, pixels.size)
            yield RestoredWindow(task, pixels, meter)


class DistantStore:
    """A store whose every request takes a while longer."""

    def __init__(self, store: Store, latency_seconds: float) -> None:
        self.uri = store.uri
        self._store = store
        self._latency_seconds = latency_seconds

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        time.sleep(self._latency_seconds)
        return self._store.read(key, start, end)

    def write(self, key: str, data: bytes) -> ObjectInfo:
        time.sleep(self._latency_seconds)
        return self._store.write(key, data)
