import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray import claim as module
from ganray.claim import CLAIMS_PREFIX, EXPIRY_SECONDS, Clock, Owner, claimed, this_process
from ganray.errors import ClaimedError, StorageError
from ganray.storage import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "target"))


def claims(store: Store) -> list[str]:
    return [info.key for info in store.list(CLAIMS_PREFIX)]


class FakeClock:
    """Seconds pass only by sleeping; `then` is what happens meanwhile."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.seconds = 0.0
        self.then = then
        self.clock = Clock(now=lambda: self.seconds, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.then()


def elsewhere(pid: int = 1) -> Owner:
    return Owner("another-host", "another-boot", pid, "1")


def test_a_claim_is_held_and_leaves_nothing(store: Store) -> None:
    with claimed(store, "run-1") as held:
        assert claims(store) == [f"{CLAIMS_PREFIX}run-1.json"]
        assert not held.lost
    assert claims(store) == []


def test_a_second_run_stops_and_is_told_who_holds_the_claim(store: Store) -> None:
    with claimed(store, "run-2"):
        for run_id in ("run-1", "run-3"):
            with pytest.raises(ClaimedError, match=f"run-2, process {os.getpid()}"):
                claimed(store, run_id).__enter__()
        assert claims(store) == [f"{CLAIMS_PREFIX}run-2.json"]


def test_the_claim_of_a_dead_process_of_this_machine_does_not_count(store: Store) -> None:
    code = (
        "import os, sys; from ganray.claim import claimed; from ganray.storage import open_store\n"
        "held = claimed(open_store(sys.argv[1]), 'dead'); held.__enter__(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, store.uri], check=True)
    assert claims(store) == [f"{CLAIMS_PREFIX}dead.json"]
    with claimed(store, "run-1"):
        assert claims(store) == [f"{CLAIMS_PREFIX}run-1.json"]


def leave(store: Store, run_id: str, state: str = "established", beat: int = 0) -> None:
    """A claim of another machine, as its owner last wrote it."""
    owner = {"host": "another-host", "boot": "another-boot", "pid": 1, "started": "1"}
    content = {"run_id": run_id, "owner": owner, "state": state, "beat": beat}
    store.write(f"{CLAIMS_PREFIX}{run_id}.json", json.dumps(content).encode())


@pytest.mark.parametrize("state", ["candidate", "established"])
@pytest.mark.parametrize("run_id", ["a", "z"])
def test_a_claim_of_another_machine_expires_without_a_beat(
    store: Store, state: str, run_id: str
) -> None:
    leave(store, run_id, state)
    fake = FakeClock()
    with claimed(store, "m", clock=fake.clock):
        assert EXPIRY_SECONDS < fake.seconds < 2 * EXPIRY_SECONDS
        assert claims(store) == [f"{CLAIMS_PREFIX}m.json"]


@pytest.mark.parametrize("run_id", ["a", "z"])
def test_a_claim_of_another_machine_that_beats_is_respected(store: Store, run_id: str) -> None:
    beats = iter(range(1, 1000))
    leave(store, run_id)
    fake = FakeClock(lambda: leave(store, run_id, beat=next(beats)))
    with pytest.raises(ClaimedError, match="another-host"):
        claimed(store, "m", clock=fake.clock).__enter__()
    assert claims(store) == [f"{CLAIMS_PREFIX}{run_id}.json"]


def test_a_claim_that_was_taken_away_is_known_as_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    with claimed(store, "run-1") as held:
        store.delete(f"{CLAIMS_PREFIX}run-1.json")
        for _ in range(500):
            if held.lost:
                break
            threading.Event().wait(0.01)
        assert held.lost


def test_a_claim_beats(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    with claimed(store, "run-1") as held:
        for _ in range(500):
            if held.record.beat > 2:
                break
            threading.Event().wait(0.01)
        assert held.record.beat > 2


def test_a_file_that_is_no_claim_is_named(store: Store) -> None:
    store.write(f"{CLAIMS_PREFIX}odd.json", b"{}")
    with pytest.raises(StorageError, match=r"odd\.json"):
        claimed(store, "run-1").__enter__()


class SteppedStore:
    """A store whose every operation waits until the schedule lets its run go on."""

    def __init__(self, store: Store, step: Callable[[], None]) -> None:
        self._store = store
        self._step = step
        self.uri = store.uri

    def list(self, prefix: str) -> Iterator:
        self._step()
        return iter(list(self._store.list(prefix)))

    def __getattr__(self, name: str):
        def operation(*arguments):
            self._step()
            return getattr(self._store, name)(*arguments)

        return operation


class Race:
    """Some runs in threads of their own, of which one at a time does one operation."""

    def __init__(self, store: Store, owners: list[Owner]) -> None:
        self.holders = 0
        self.most_holders = 0
        self.winners = 0
        self.turns = [threading.Semaphore(0) for _ in owners]
        self.waiting = threading.Semaphore(0)
        self.running = [True] * len(owners)
        self.seconds = 0.0
        self.threads = [
            threading.Thread(target=self._run, args=(store, index, owner), daemon=True)
            for index, owner in enumerate(owners)
        ]

    def _run(self, store: Store, index: int, owner: Owner) -> None:
        def step() -> None:
            self.waiting.release()
            self.turns[index].acquire()

        def sleep(seconds: float) -> None:
            self.seconds += 0.01
            step()

        clock = Clock(now=lambda: self.seconds, sleep=sleep)
        with suppress(ClaimedError):
            run_id = f"run-{index}"
            with claimed(SteppedStore(store, step), run_id, owner=owner, clock=clock):  # type: ignore[arg-type]
                self.winners += 1
                self.holders += 1
                self.most_holders = max(self.most_holders, self.holders)
                step()
                step()
                self.holders -= 1
        self.running[index] = False
        self.waiting.release()

    def go(self, schedule: list[int]) -> None:
        for thread in self.threads:
            thread.start()
        for _ in self.threads:
            assert self.waiting.acquire(timeout=10)
        turn = 0
        while any(self.running):
            assert turn < 5000, "nobody gets on"
            wanted = schedule[turn % len(schedule)] if turn < 200 else turn
            turn += 1
            alive = [i for i, runs in enumerate(self.running) if runs]
            self.turns[alive[wanted % len(alive)]].release()
            assert self.waiting.acquire(timeout=10)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 3), st.lists(st.integers(0, 5), min_size=1, max_size=60), st.booleans())
def test_no_schedule_gives_a_claim_to_two_runs_at_once(
    tmp_path_factory: pytest.TempPathFactory, number: int, schedule: list[int], same: bool
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("race")))
    here = this_process()
    owners = [here if same else replace(here, host=f"host-{i}") for i in range(number)]
    race = Race(store, owners)
    race.go(schedule)
    assert race.most_holders <= 1
    assert race.winners >= 1
    assert claims(store) == []
