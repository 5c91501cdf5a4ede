"""One worker's engine: reading, the device and writing overlap.

Reader threads load, the calling thread runs the device, writer threads store, one thread
commits what was stored; queues between them are bounded by bytes. It knows neither images nor
ledgers: a `Task` does.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from ganray.errors import GanrayError
from ganray.pipelines.budget import Budget, Clocks, PausingBudget
from ganray.pipelines.metrics import Meters
from ganray.pipelines.metrics_worker import WorkerMeters
from ganray.restoration.canvas import RestoredWindow, WindowTask

OutcomeT = TypeVar("OutcomeT")
OutT = TypeVar("OutT", covariant=True)
Restore = Callable[[Iterator[WindowTask | None]], Iterator[RestoredWindow]]


# Outcomes that may wait for a commit; the bytes of what is being stored are in the budget.
STORED_AHEAD = 256
SECONDS_BETWEEN_COMMITS = 0.2
POLL_SECONDS = 0.02


class Task(Protocol[OutT]):
    """What a worker does with one input, or one window, or one scene.

    `load` and `store` run in threads of their own, `windows` and `collect` in the device's. An
    error of `load`, or of a window, goes to `store` all the same, which says what became of it.
    What is loaded and will not be stored is abandoned.
    """

    held_bytes: int
    device_seconds: float
    name: str
    is_timed: bool
    """Whether a stage that takes too long means that it hangs."""

    def refuse(self, error: GanrayError) -> None:
        """Fail before anything is loaded."""
        ...

    def load(self, budget: PausingBudget) -> None: ...

    def windows(self) -> Iterator[WindowTask | None]:
        """The task's windows; None before one that has to be waited for."""
        ...

    def collect(self, restored: RestoredWindow) -> bool:
        """Take one window's result; whether it was the last."""
        ...

    def store(self) -> OutT: ...

    def abandon(self) -> None:
        """Let go of what `load` has begun."""
        ...


class Engine(Generic[OutcomeT]):
    """Runs tasks through readers, device and writers; threads live as long as the engine."""

    def __init__(
        self,
        restore: Restore,
        commit: Callable[[Sequence[OutcomeT]], None],
        *,
        num_readers: int,
        num_writers: int,
        num_ahead: int,
        buffer_bytes: int,
        meters: WorkerMeters | None = None,
    ) -> None:
        self.clocks = Clocks()
        self.meters = meters or WorkerMeters(Meters())
        self._restore = restore
        self._commit = commit
        self._readers = ThreadPoolExecutor(num_readers, "ganray-read")
        self._writers = ThreadPoolExecutor(num_writers, "ganray-write")
        self._ahead = num_ahead
        self._budget = Budget(buffer_bytes)
        self._begun: dict[int, Task[OutcomeT]] = {}
        self._failure: BaseException | None = None

    def run(self, tasks: Iterable[Task[OutcomeT]], stop: Callable[[], bool]) -> Iterator[OutcomeT]:
        """Yield what became of each task, once it is committed; begin none after `stop`.

        An exception that is not of ganray's is a bug and is raised, by every later call too; the
        engine is to be closed then, and abandons what it had begun.
        """
        if self._failure is not None:
            raise self._failure
        run = _Run(self, iter(tasks), stop)
        try:
            for restored in self._restore(run.device_tasks()):
                task = restored.task.token
                seconds = run.busy_seconds()
                task.device_seconds += seconds
                self.meters.restored(seconds)
                self.clocks.begin(task.name)
                if task.collect(restored):
                    run.store(task)
                # Whoever consumes the outcomes may take his time.
                self.clocks.end()
                yield from run.committed()
                self.clocks.begin(task.name)
            self.clocks.end()
            yield from run.committed(wait=True)
        except BaseException as error:
            self._failure = error
            self._budget.close()
            raise
        finally:
            self.clocks.end()
            run.close()

    def close(self) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown(cancel_futures=True)
        while self._begun:
            self._begun.popitem()[1].abandon()


class _Run(Generic[OutcomeT]):
    """The queues of one call of `Engine.run`."""

    def __init__(
        self, engine: Engine[OutcomeT], tasks: Iterator[Task[OutcomeT]], stop: Callable[[], bool]
    ) -> None:
        self.engine = engine
        self.tasks: Iterator[Task[OutcomeT]] | None = tasks
        self.stop = stop
        self.num_loading = 0
        self.num_storing = 0
        self.ready: list[OutcomeT] = []
        self.busy_since = time.perf_counter()
        self.loaded: SimpleQueue[Task[OutcomeT] | BaseException] = SimpleQueue()
        self.stored: SimpleQueue[OutcomeT | BaseException | None] = SimpleQueue()
        self.done: SimpleQueue[OutcomeT | BaseException] = SimpleQueue()
        self.hurry = threading.Event()
        self.committer = threading.Thread(
            target=self._commit_all, name="ganray-commit", daemon=True
        )
        self.committer.start()

    def device_tasks(self) -> Iterator[WindowTask | None]:
        """Windows of the tasks that are loaded; None before waiting for one."""
        while True:
            self._load_ahead()
            self.engine.meters.queues(loading=self.num_loading, storing=self.num_storing)
            if self.stop():
                # What waits for a full batch holds bytes for which the readers may be waiting.
                yield None
                self._discard()
                return
            if self.num_loading:
                if self.loaded.empty():
                    yield None
                yield from self._windows(self._next_loaded())
            elif self.tasks is None:
                return
            else:
                # All are stored late: the device waits for the writers.
                yield None
                self._take_committed()

    def busy_seconds(self) -> float:
        """Seconds that the device was at work since this was last asked."""
        now = time.perf_counter()
        seconds, self.busy_since = now - self.busy_since, now
        return seconds

    def _wait_since(self, begin: float) -> None:
        """Note that the device waited until now."""
        seconds = time.perf_counter() - begin
        self.busy_since += seconds
        self.engine.meters.waited(seconds)

    def _next_loaded(self) -> Task[OutcomeT]:
        self.engine.clocks.end()
        begin = time.perf_counter()
        task = self.loaded.get()
        self._wait_since(begin)
        self.num_loading -= 1
        if isinstance(task, BaseException):
            raise task
        return task

    def _discard(self) -> None:
        """Leave alone what is loaded and not begun: it stays to be done."""
        while self.num_loading:
            task = self._next_loaded()
            self.engine._begun.pop(id(task), None)
            task.abandon()
            self.engine._budget.release(task.held_bytes)

    def _windows(self, task: Task[OutcomeT]) -> Iterator[WindowTask | None]:
        has_windows = False
        waiting_since = 0.0
        for window in task.windows():
            if waiting_since:
                self.busy_since += time.perf_counter() - waiting_since
                waiting_since = 0.0
            self.engine.clocks.begin(task.name)
            has_windows = has_windows or window is not None
            yield window
            if window is None:
                # Whoever is waited for has a clock of his own.
                self.engine.clocks.end()
                waiting_since = time.perf_counter()
        if not has_windows:
            self.store(task)

    def _load_ahead(self) -> None:
        # As much is stored late as is loaded early: neither piles up.
        while (
            self.tasks is not None
            and not self.stop()
            and self.num_loading < self.engine._ahead
            and self.num_storing < STORED_AHEAD
        ):
            task = next(self.tasks, None)
            if task is None:
                self.tasks = None
                return
            self.num_loading += 1
            self.engine._readers.submit(self._load, task)

    def _load(self, task: Task[OutcomeT]) -> None:
        self.engine._begun[id(task)] = task
        try:
            clocks = self.engine.clocks
            budget = PausingBudget(self.engine._budget, clocks, task.name)
            with clocks.stage(task.name), self.engine.meters.stage("decode"):
                task.load(budget)
                self.engine.meters.exclude(budget.waited_seconds)
        except BaseException as error:
            self.loaded.put(error)
        else:
            self.loaded.put(task)

    def store(self, task: Task[OutcomeT]) -> None:
        self.num_storing += 1
        self.engine._writers.submit(self._store, task)

    def _store(self, task: Task[OutcomeT]) -> None:
        try:
            clock = self.engine.clocks.stage(task.name) if task.is_timed else nullcontext()
            with clock, self.engine.meters.stage("encode"):
                outcome: OutcomeT | BaseException = task.store()
        except BaseException as error:
            outcome = error
        finally:
            self.engine._begun.pop(id(task), None)
            self.engine._budget.release(task.held_bytes)
        self.stored.put(outcome)

    def _commit_all(self) -> None:
        """Commit what is stored, all that has come together at once.

        A commit costs as much as a small image: after one, more is waited for, unless there is
        nothing else to wait for.
        """
        last = 0.0
        while True:
            group: list[Any] = [self.stored.get()]
            due = last + SECONDS_BETWEEN_COMMITS
            while not self.hurry.is_set() and time.monotonic() < due:
                self.hurry.wait(POLL_SECONDS)
            last = time.monotonic()
            while not self.stored.empty():
                group.append(self.stored.get())
            outcomes = [o for o in group if o is not None and not isinstance(o, BaseException)]
            try:
                self.engine._commit(outcomes)
            except BaseException as error:
                group = [error, *([None] if None in group else [])]
                outcomes = []
            for item in [*outcomes, *(o for o in group if isinstance(o, BaseException))]:
                self.done.put(item)
            if None in group:
                return

    def committed(self, *, wait: bool = False) -> Iterator[OutcomeT]:
        """Outcomes that are committed; with `wait`, all that are still to come."""
        if wait:
            self.hurry.set()
        while self.num_storing and (wait or not self.done.empty()):
            self._take_committed()
        yield from self.ready
        self.ready = []

    def _take_committed(self) -> None:
        self.engine.clocks.end()
        begin = time.perf_counter()
        outcome = self.done.get()
        self._wait_since(begin)
        self.num_storing -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        self.ready.append(outcome)

    def close(self) -> None:
        """End the committer once it has committed what was stored."""
        self.hurry.set()
        self.stored.put(None)
        self.committer.join()
