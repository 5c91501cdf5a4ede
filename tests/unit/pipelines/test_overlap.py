import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.pipelines.budget import Budget, Clocks, PausingBudget
from ganray.pipelines.overlap import Engine


class FakeTask:
    """A task of some windows, whose stages note what happens to them."""

    def __init__(self, name: str, num_windows: int = 1, size: int = 1, fail: str = "") -> None:
        self.name = name
        self.held_bytes = 0
        self.device_seconds = 0.0
        self.is_timed = True
        self.num_windows = self.missing = num_windows
        self.size = size
        self.fail = fail
        self.num_abandoned = 0

    def load(self, budget: Budget) -> None:
        if self.fail == "load":
            raise ValueError(self.name)
        self.held_bytes = budget.acquire(self.size)

    def windows(self) -> Iterator[SimpleNamespace]:
        for _ in range(self.num_windows):
            yield SimpleNamespace(token=self)

    def collect(self, restored: SimpleNamespace) -> bool:
        self.missing -= 1
        return self.missing == 0

    def store(self) -> str:
        if self.fail == "store":
            raise ValueError(self.name)
        return self.name

    def abandon(self) -> None:
        self.num_abandoned += 1


def restore_later(tasks: Iterable[SimpleNamespace | None]) -> Iterator[SimpleNamespace]:
    """A device that works on three windows at once, in another order."""
    waiting: list[SimpleNamespace] = []
    for task in tasks:
        if task is not None:
            waiting.append(task)
        if task is None or len(waiting) == 3:
            yield from (SimpleNamespace(task=item) for item in reversed(waiting))
            waiting = []
    yield from (SimpleNamespace(task=item) for item in reversed(waiting))


def engine(committed: list[str], buffer_bytes: int = 100, threads: int = 2) -> Engine:
    def commit(outcomes: Sequence[str]) -> None:
        committed.extend(outcomes)

    return Engine(
        restore_later,
        commit,
        num_readers=threads,
        num_writers=threads,
        num_ahead=3 * threads,
        buffer_bytes=buffer_bytes,
    )


def never() -> bool:
    return False


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 300)), max_size=25),
    st.integers(1, 4),
    st.integers(1, 200),
)
def test_every_task_ends_once_and_is_committed_before_it_is_yielded(
    shapes: list[tuple[int, int]], threads: int, buffer_bytes: int
) -> None:
    committed: list[str] = []
    one = engine(committed, buffer_bytes, threads)
    tasks = [FakeTask(str(i), windows, size) for i, (windows, size) in enumerate(shapes)]
    seen = []
    for outcome in one.run(tasks, never):
        assert outcome in committed
        seen.append(outcome)
    assert sorted(seen) == sorted(task.name for task in tasks)
    assert one._budget._free == buffer_bytes
    one.close()


@pytest.mark.parametrize("stage", ["load", "store"])
def test_a_bug_in_a_stage_is_raised(stage: str) -> None:
    one = engine([])
    tasks = [FakeTask(str(i)) for i in range(5)] + [FakeTask("bad", fail=stage)]
    with pytest.raises(ValueError, match="bad"):
        list(one.run(tasks, never))
    one.close()


def test_a_commit_that_fails_ends_the_run() -> None:
    def refuse(outcomes: Sequence[str]) -> None:
        raise OSError("the ledger is gone")

    one: Engine[str] = Engine(
        restore_later, refuse, num_readers=1, num_writers=1, num_ahead=2, buffer_bytes=10
    )
    with pytest.raises(OSError, match="the ledger is gone"):
        list(one.run([FakeTask("a")], never))
    one.close()


def test_after_a_stop_nothing_is_begun_and_what_was_begun_is_finished() -> None:
    stopped = threading.Event()
    one = engine([])
    outcomes = []
    for outcome in one.run((FakeTask(str(i)) for i in range(1000)), stopped.is_set):
        outcomes.append(outcome)
        stopped.set()
    assert 1 <= len(outcomes) < 100
    assert one._budget._free == 100
    one.close()


def test_a_stop_ends_the_run_while_patches_wait_for_a_full_batch_and_readers_for_bytes() -> None:
    stopped = threading.Event()
    one = engine([], buffer_bytes=10)
    tasks = [FakeTask(str(i), size=5) for i in range(20)]

    def stop() -> bool:
        # Two tasks hold all bytes, and the device waits for a third window.
        if not one._budget._free:
            stopped.set()
        return stopped.is_set()

    outcomes: list[str] = []
    run = threading.Thread(target=lambda: outcomes.extend(one.run(tasks, stop)), daemon=True)
    run.start()
    run.join(10)
    assert not run.is_alive(), "it waits for ever"
    assert one._budget._free == 10
    one.close()


@pytest.mark.parametrize("stage", ["load", "store"])
def test_an_error_ends_the_engine_while_readers_wait_for_bytes(stage: str) -> None:
    one = engine([], buffer_bytes=1)
    tasks = [FakeTask(str(i)) for i in range(2)] + [FakeTask("bad", fail=stage)]
    tasks += [FakeTask(str(i)) for i in range(10)]
    with pytest.raises(ValueError, match="bad"):
        list(one.run(tasks, never))
    closing = threading.Thread(target=one.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive(), "a reader waits for ever"


class LateTask(FakeTask):
    """A task whose every window is waited for."""

    def windows(self) -> Iterator[SimpleNamespace | None]:
        for window in super().windows():
            yield None
            time.sleep(0.02)
            yield window
        yield None


def test_what_waits_for_a_full_batch_is_run_before_a_window_is_waited_for() -> None:
    one = engine([])
    seen = []

    class Watched(LateTask):
        def collect(self, restored: SimpleNamespace) -> bool:
            seen.append(self.num_windows - self.missing)
            return super().collect(restored)

        def windows(self) -> Iterator[SimpleNamespace | None]:
            for number, window in enumerate(super().windows()):
                # Every other one is None.
                assert window is None or len(seen) == number // 2
                yield window

    tasks = [Watched("a", num_windows=4)]
    assert list(one.run(tasks, never)) == ["a"]
    assert tasks[0].device_seconds < 0.05, "waiting was counted"
    one.close()


def test_a_task_that_only_had_to_be_waited_for_is_stored() -> None:
    one = engine([])
    tasks = [LateTask(str(number), num_windows=number % 2) for number in range(6)]
    assert sorted(one.run(tasks, never)) == [str(number) for number in range(6)]
    assert not any(task.num_abandoned for task in tasks)
    one.close()


@pytest.mark.parametrize("stage", ["load", "store", "device"])
def test_what_is_loaded_is_stored_or_abandoned(stage: str) -> None:
    stored, loaded = [], []

    class Noting(FakeTask):
        def load(self, budget: Budget) -> None:
            super().load(budget)
            loaded.append(self)

        def store(self) -> str:
            stored.append(self)
            return super().store()

        def windows(self) -> Iterator[SimpleNamespace]:
            if self.fail == "device":
                raise ValueError(self.name)
            return super().windows()

    one = engine([])
    tasks = [Noting(str(i)) for i in range(4)] + [Noting("bad", fail=stage)]
    tasks += [Noting(str(i)) for i in range(4, 30)]
    with pytest.raises(ValueError, match="bad"):
        list(one.run(tasks, never))
    one.close()
    for task in loaded:
        assert (task in stored) != (task.num_abandoned == 1), task.name
    assert not one._begun


def test_after_a_stop_what_is_loaded_and_not_begun_is_abandoned() -> None:
    stopped = threading.Event()
    one = engine([])
    tasks = [FakeTask(str(i), size=1) for i in range(50)]
    outcomes = []
    for outcome in one.run(tasks, stopped.is_set):
        outcomes.append(outcome)
        stopped.set()
    assert not one._begun
    for task in tasks:
        is_held = task.held_bytes > 0
        assert task.num_abandoned == (is_held and task.name not in outcomes)
    one.close()


def test_waiting_for_bytes_is_not_the_time_of_a_stage() -> None:
    budget, clocks = Budget(1), Clocks()
    held = budget.acquire(1)

    def load() -> None:
        with clocks.stage("patient.png"):
            PausingBudget(budget, clocks, "patient.png").acquire(1)
            time.sleep(0.2)

    thread = threading.Thread(target=load)
    thread.start()
    time.sleep(0.1)
    assert clocks.overdue(0.05) is None
    budget.release(held)
    time.sleep(0.1)
    assert clocks.overdue(0.05) == "patient.png"
    thread.join()


def test_what_is_larger_than_the_budget_is_admitted_alone() -> None:
    budget = Budget(10)
    held = budget.acquire(1000)
    waiting = threading.Thread(target=lambda: budget.acquire(1))
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive()
    budget.release(held)
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_stage_that_takes_too_long_is_named() -> None:
    clocks = Clocks()
    with clocks.stage("slow.png"):
        time.sleep(0.02)
        assert clocks.overdue(0.01) == "slow.png"
        assert clocks.overdue(10) is None
    assert clocks.overdue(0) is None


def test_an_engine_that_failed_says_why_again() -> None:
    committed: list[str] = []
    one = engine(committed)
    with pytest.raises(ValueError, match="bad"):
        list(one.run([FakeTask("good"), FakeTask("bad", fail="load")], never))
    with pytest.raises(ValueError, match="bad"):
        list(one.run([FakeTask("late")], never))
    one.close()
    assert "late" not in committed
