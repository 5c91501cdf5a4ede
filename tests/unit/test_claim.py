import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganray import claim as module
from ganray.claim import (
    CLAIMS_PREFIX,
    EXPIRY_SECONDS,
    LATE_SECONDS,
    Claim,
    ClaimRecord,
    Clock,
    claimed,
)
from ganray.errors import ClaimedError, StorageError
from ganray.owner import Owner, this_process
from ganray.storage import Store, open_store
from tests.unit.memory_store import MemoryStore

FIXTURES = [HealthCheck.function_scoped_fixture]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "target"))


def claims(store: Store) -> list[str]:
    return [info.key for info in store.list(CLAIMS_PREFIX)]


def key(run_id: str) -> str:
    return f"{CLAIMS_PREFIX}{run_id}.json"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class FakeClock:
    """Seconds pass only by sleeping; `then` is what happens meanwhile."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.seconds = 0.0
        self.then = then
        self.clock = Clock(now=lambda: self.seconds, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.then()


OTHER = Owner("another-host", "another-boot", 1, "1")


def leave(
    store: Store, run_id: str, state: str = "established", beat: int = 0, owner: Owner = OTHER
) -> None:
    """A claim as its owner last wrote it."""
    content = {"run_id": run_id, "owner": vars(owner), "state": state, "beat": beat}
    store.write(key(run_id), json.dumps(content).encode())


# --- Two runs, one after the other -----------------------------------------------------------


def test_a_claim_is_held_and_leaves_nothing(store: Store) -> None:
    with claimed(store, "run-1") as held:
        assert claims(store) == [key("run-1")]
        assert not held.lost
    assert claims(store) == []
    with claimed(store, "run-1"):
        pass


@pytest.mark.parametrize("run_id", ["run-1", "run-2", "run-3"])
def test_a_second_run_stops_and_is_told_who_holds_the_claim(store: Store, run_id: str) -> None:
    with claimed(store, "run-2") as held:
        with pytest.raises(ClaimedError, match=f"run-2, process {os.getpid()} on .* Wait"):
            claimed(store, run_id).__enter__()
        assert claims(store) == [key("run-2")]
        held.beat()
        assert not held.lost


def test_a_second_run_of_another_process_stops(store: Store) -> None:
    code = (
        "import sys; from ganray.claim import claimed; from ganray.storage import open_store\n"
        "with claimed(open_store(sys.argv[1]), 'other'): print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, store.uri]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ClaimedError, match=f"other, process {other.pid} "):
            claimed(store, "run-1").__enter__()
        other.communicate("")
    with claimed(store, "run-1"):
        assert claims(store) == [key("run-1")]


@pytest.mark.parametrize("run_id", ["dead", "run-1"])
def test_the_claim_of_a_dead_process_of_this_machine_does_not_count(
    store: Store, run_id: str
) -> None:
    code = (
        "import os, sys; from ganray.claim import claimed; from ganray.storage import open_store\n"
        "held = claimed(open_store(sys.argv[1]), sys.argv[2]); held.__enter__(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, store.uri, run_id], check=True)
    assert claims(store) == [key(run_id)]
    with claimed(store, "run-1"):
        assert claims(store) == [key("run-1")]


def test_a_process_with_the_number_of_a_dead_one_is_another() -> None:
    here = this_process()
    assert here.is_alive()
    assert not replace(here, started="1").is_alive()
    assert not replace(here, pid=2**22 + 1).is_alive()


def test_a_zombie_is_dead() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    wait_until(lambda: not replace(this_process(), pid=child, started="0").is_alive())
    os.waitpid(child, 0)


def test_a_process_that_cannot_be_asked_is_taken_for_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert replace(this_process(), pid=2**22 + 1).is_alive()


def test_processes_of_another_container_or_of_no_known_machine_are_only_watched() -> None:
    here = this_process()
    assert here.shares_machine(replace(here, pid=1, started="1"))
    assert not here.shares_machine(replace(here, boot=f"{here.boot.split()[0]} pid:[1]"))
    unknown = replace(here, boot="")
    assert not unknown.shares_machine(unknown)


# --- Claims of other machines ----------------------------------------------------------------


@pytest.mark.parametrize("state", ["candidate", "established"])
@pytest.mark.parametrize("run_id", ["a", "m", "z"])
def test_a_claim_of_another_machine_expires_without_a_beat(
    store: Store, state: str, run_id: str
) -> None:
    leave(store, run_id, state)
    fake = FakeClock()
    with claimed(store, "m", clock=fake.clock):
        assert EXPIRY_SECONDS < fake.seconds < 2 * EXPIRY_SECONDS
        assert claims(store) == [key("m")]


@pytest.mark.parametrize("run_id", ["a", "m", "z"])
def test_a_claim_of_another_machine_that_beats_is_respected(store: Store, run_id: str) -> None:
    beats = iter(range(1, 1000))
    leave(store, run_id)
    fake = FakeClock(lambda: leave(store, run_id, beat=next(beats)))
    with pytest.raises(ClaimedError, match="another-host"):
        claimed(store, "m", clock=fake.clock).__enter__()
    assert claims(store) == [key(run_id)]


def test_a_candidate_that_goes_first_shows_that_it_lives_while_it_waits(store: Store) -> None:
    """Else the one that watches it would take it for dead."""
    beats = []
    leave(store, "z", "candidate")
    fake = FakeClock(lambda: beats.append(json.loads(store.read(key("m")))["beat"]))
    with claimed(store, "m", clock=fake.clock):
        assert len(set(beats)) == len(beats) > 10


def test_a_slow_answer_does_not_make_a_living_claim_look_dead() -> None:
    """What was read before the expiry says nothing about the time after it."""
    shared, fake = MemoryStore(), FakeClock()
    leave(shared, "z")

    def step(action: str, name: str) -> None:
        if action == "delete":
            assert name != key("z"), "it was looked at once"

    slow = shared.seen_by(step)
    read = slow.read

    def read_slowly(name: str, start: int = 0, end: int | None = None) -> bytes:
        data = read(name, start, end)
        if name == key("z"):
            fake.seconds += EXPIRY_SECONDS * 2
        return data

    slow.read = read_slowly  # type: ignore[method-assign]
    fake.then = lambda: leave(shared, "z", beat=1)
    with pytest.raises(ClaimedError):
        claimed(slow, "m", clock=fake.clock).__enter__()


def test_a_file_that_is_no_claim_is_named(store: Store) -> None:
    store.write(key("odd"), b"{}")
    with pytest.raises(StorageError, match=r"odd\.json is no claim .* remove it"):
        claimed(store, "run-1").__enter__()
    assert claims(store) == [key("odd")]


# --- Holding and losing ----------------------------------------------------------------------


def test_a_claim_beats(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    with claimed(store, "run-1") as held:
        wait_until(lambda: held.record.beat > 5)
        assert not held.lost


@pytest.mark.parametrize("other", [None, OTHER])
def test_a_claim_that_was_taken_away_is_known_as_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch, other: Owner | None
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    with claimed(store, "run-1") as held:
        if other is None:
            store.delete(key("run-1"))
        else:
            leave(store, "run-1", owner=other)
        # Not by the thread alone, which may be writing just now.
        wait_until(lambda: held.lost or other is not None)
        held.beat()
    assert claims(store) == ([] if other is None or not held.lost else [key("run-1")])


def holding(store: Store, fake: FakeClock) -> Claim:
    claim = Claim(store, ClaimRecord("run-1", this_process()), fake.clock)
    claim.acquire()
    return claim


def test_a_run_that_wakes_late_and_is_alone_goes_on(store: Store) -> None:
    fake = FakeClock()
    claim = holding(store, fake)
    fake.seconds += 100 * EXPIRY_SECONDS
    claim.beat()
    assert not claim.lost


@pytest.mark.parametrize("state", ["candidate", "established"])
@pytest.mark.parametrize("silent_seconds", [LATE_SECONDS - 1, LATE_SECONDS])
def test_a_run_that_wakes_late_and_finds_another_stops(
    store: Store, silent_seconds: float, state: str
) -> None:
    fake = FakeClock()
    claim = holding(store, fake)
    leave(store, "run-0", state)
    fake.seconds += silent_seconds
    claim.beat()
    assert claim.lost == (silent_seconds >= LATE_SECONDS)
    assert (key("run-1") in claims(store)) != claim.lost


def test_a_store_that_fails_is_borne_until_the_claim_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.005)
    fake, failures, is_broken = FakeClock(), [], threading.Event()

    def step(action: str, name: str) -> None:
        if action == "write" and is_broken.is_set():
            failures.append(action)
            raise StorageError("no answer")

    with claimed(MemoryStore(step=step), "run-1", clock=fake.clock) as held:
        is_broken.set()
        wait_until(lambda: len(failures) > 3)
        assert not held.lost
        is_broken.clear()
        wait_until(lambda: held.record.beat > 9)
        fake.seconds += EXPIRY_SECONDS - 1
        is_broken.set()
        num_failures = len(failures)
        wait_until(lambda: len(failures) > num_failures + 3)
        assert not held.lost
        fake.seconds += 2
        wait_until(lambda: held.lost)


@pytest.mark.parametrize("others", [None, "run-0", "run-1"])
def test_a_claim_lost_to_a_silent_store_is_regained_unless_another_run_came(
    others: str | None,
) -> None:
    fake, is_broken = FakeClock(), threading.Event()

    def step(action: str, name: str) -> None:
        if is_broken.is_set():
            raise StorageError("no answer")

    store = MemoryStore(step=step)
    claim = holding(store, fake)
    is_broken.set()
    fake.seconds += EXPIRY_SECONDS + 1
    claim.lost = True
    with pytest.raises(StorageError):
        claim.regain()
    assert claim.lost
    is_broken.clear()
    if others:
        leave(store, others)
    assert claim.regain() == (others is None)
    assert claim.lost == (others is not None)
    claim.release()


def test_a_claim_that_cannot_be_removed_hides_no_error_and_raises_none() -> None:
    is_broken = threading.Event()

    def step(action: str, name: str) -> None:
        if is_broken.is_set():
            raise StorageError("no answer")

    store = MemoryStore(step=step)
    with claimed(store, "run-1"):
        is_broken.set()
    is_broken.clear()
    store.delete(key("run-1"))
    with pytest.raises(ZeroDivisionError), claimed(store, "run-1"):
        is_broken.set()
        raise ZeroDivisionError


# --- Runs that start at the same time, in every order ------------------------------------------


class Race:
    """Runs in threads of their own; one at a time goes on, to its next operation of the store.

    Time passes with every sleep of a run. After it has acquired the claim, a run beats some
    times and then stops without a release, or releases.
    """

    def __init__(
        self, owners: list[Owner], num_beats: int, releases: bool, sleep_seconds: float = 1.0
    ) -> None:
        self.store = MemoryStore()
        self.seconds = 0.0
        self.sleep_seconds = sleep_seconds
        self.num_beats, self.releases = num_beats, releases
        self.held: dict[Claim, float] = {}
        self.num_acquired = 0
        self.has_ended = [False] * len(owners)
        self.turns = [threading.Semaphore(0) for _ in owners]
        self.is_waiting = threading.Semaphore(0)
        self.errors: list[BaseException] = []
        self.threads = [
            threading.Thread(target=self._run, args=(index, owner), daemon=True)
            for index, owner in enumerate(owners)
        ]

    def _run(self, index: int, owner: Owner) -> None:
        def step(*_: object) -> None:
            self.is_waiting.release()
            self.turns[index].acquire()

        def sleep(seconds: float) -> None:
            step()
            self.seconds += self.sleep_seconds

        clock = Clock(now=lambda: self.seconds, sleep=sleep)
        claim = Claim(self.store.seen_by(step), ClaimRecord(f"run-{index}", owner), clock)
        try:
            with suppress(ClaimedError):
                claim.acquire()
                self._hold(claim, sleep)
        except BaseException as error:
            self.errors.append(error)
        self.has_ended[index] = True
        self.is_waiting.release()

    def _hold(self, claim: Claim, sleep: Callable[[float], None]) -> None:
        self.num_acquired += 1
        self.held[claim] = claim._written_at
        for _ in range(self.num_beats):
            sleep(1)
            claim.beat()
            self.held[claim] = claim._written_at
            if claim.lost:
                return
        if self.releases:
            del self.held[claim]
            claim.release()

    def go(self, schedule: list[int], check: Callable[["Race"], None]) -> None:
        for thread in self.threads:
            thread.start()
            assert self.is_waiting.acquire(timeout=10)
        turns = cycle(range(len(self.threads)))
        for number in range(2000):
            running = [i for i, ended in enumerate(self.has_ended) if not ended]
            if not running:
                break
            wanted = schedule[number] if number < len(schedule) else next(turns)
            self.turns[running[wanted % len(running)]].release()
            assert self.is_waiting.acquire(timeout=10)
            check(self)
        assert all(self.has_ended), "nobody gets on"
        assert not self.errors

    def holders(self) -> dict[Claim, float]:
        """Those that hold the claim, with the time of the last sign of life that was in order."""
        return {claim: seconds for claim, seconds in self.held.items() if not claim.lost}


@pytest.fixture
def short_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"EXPIRY": 4.0, "LATE": 3.5, "POLL": 1.0, "BEAT": 0.0}.items():
        monkeypatch.setattr(module, f"{name}_SECONDS", seconds)


# An index, repeated: one run that goes on alone for long is what makes others look dead.
schedules = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 30)),
    max_size=40,
).map(lambda parts: [index for index, times in parts for _ in range(times)])
numbers = st.integers(2, 3)


def is_alone(race: Race) -> None:
    assert len(race.holders()) <= 1


@settings(max_examples=100, deadline=None, suppress_health_check=FIXTURES)
@given(number=numbers, schedule=schedules, num_beats=st.integers(0, 3), releases=st.booleans())
def test_no_schedule_gives_a_claim_to_two_runs_of_a_machine(
    short_expiry: None, number: int, schedule: list[int], num_beats: int, releases: bool
) -> None:
    race = Race([this_process()] * number, num_beats, releases)
    race.go(schedule, is_alone)


def others_are_silent(race: Race) -> None:
    """Of two holders, one has given no sign of life for so long that its next one is late."""
    signs = race.holders().values()
    assert sum(race.seconds - sign < module.LATE_SECONDS for sign in signs) <= 1


@settings(max_examples=200, deadline=None, suppress_health_check=FIXTURES)
@given(number=numbers, schedule=schedules, num_beats=st.integers(0, 6), releases=st.booleans())
def test_no_schedule_lets_two_runs_of_different_machines_beat_at_once(
    short_expiry: None, number: int, schedule: list[int], num_beats: int, releases: bool
) -> None:
    owners = [replace(this_process(), host=f"host-{n}") for n in range(number)]
    race = Race(owners, num_beats, releases)
    race.go(schedule, others_are_silent)
    for claim in race.holders():
        claim._store = race.store
        claim.beat()
    assert len(race.holders()) <= 1


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("num_beats", [0, 20])
def test_of_runs_that_start_together_exactly_one_goes_on(
    short_expiry: None, same: bool, number: int, num_beats: int
) -> None:
    here = this_process()
    owners = [here if same else replace(here, host=f"host-{n}") for n in range(number)]
    race = Race(owners, num_beats, releases=False, sleep_seconds=1 / number)
    race.go([], is_alone)
    assert race.num_acquired == 1
