"""What a training leaves behind where its store works, fails, lies, or is full."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ganray.errors import DamagedError, StorageError
from ganray.pipelines import train_writer
from ganray.pipelines.train_checkpoints import (
    find_checkpoint,
    list_checkpoints,
    store_checkpoint,
    write_verified,
)
from ganray.pipelines.train_output import TrainOutput
from ganray.pipelines.train_writer import BackgroundWriter
from ganray.storage import ObjectInfo, RetryPolicy, open_store
from ganray.training.state import (
    Snapshot,
    TrainingState,
    encode_snapshot,
    encode_state,
    new_state,
    restore_state,
    take_snapshot,
)
from tests.unit.memory_store import MemoryStore

QUICK = RetryPolicy(seconds=0.3, base_seconds=0.01, cap_seconds=0.02)


@pytest.fixture(autouse=True)
def retries_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Writers try again soon, and no more once their test is over."""
    used: list[BackgroundWriter[Any]] = []
    put = BackgroundWriter.put

    def noted(self: BackgroundWriter[Any], item: Any) -> None:
        used.append(self)
        put(self, item)

    monkeypatch.setattr(BackgroundWriter.__init__, "__defaults__", (QUICK,))
    monkeypatch.setattr(BackgroundWriter, "put", noted)
    yield
    for writer in used:
        writer.close()


def make_state(step: int) -> TrainingState:
    torch.manual_seed(step)
    state = new_state(nn.Linear(2, 3), nn.Linear(3, 1))
    state.step = step
    return state


def snapshot(step: int) -> Snapshot:
    return take_snapshot(make_state(step))


def encoded(step: int) -> bytes:
    return encode_state(make_state(step))


def failing(times: int, action: str = "write", prefix: str = "") -> Callable[[str, str], None]:
    """A store's step that fails so many times."""
    left = [times]

    def step(found: str, key: str) -> None:
        if found == action and key.startswith(prefix) and left[0] > 0:
            left[0] -= 1
            raise StorageError(f"{key}: no space left on device")

    return step


class Heard(list[dict[str, Any]]):
    """What was reported."""

    def names(self) -> list[str]:
        return [line["event"] for line in self if "event" in line]


def make_output(store: MemoryStore, **options: Any) -> tuple[TrainOutput, Heard]:
    heard = Heard()
    return TrainOutput(
        store, lambda line: heard.append(dict(line)), patience=QUICK, **options
    ), heard


def stored_steps(store: MemoryStore) -> list[int]:
    return [int(info.key[-11:-3]) for info in list_checkpoints(store)]


def lines(store: MemoryStore, key: str) -> list[dict]:
    return [json.loads(line) for line in store.read(key).decode().splitlines()]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_of_many_checkpoints_the_two_newest_stay() -> None:
    store = MemoryStore()
    for step in (5, 10, 100_000_000, 15):
        store_checkpoint(store, step, encoded(step))
    assert stored_steps(store) == [10, 15]


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-9], lambda data: data[:40] + b"x" + data[41:]]
)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(
    spoil: Callable[[bytes], bytes],
) -> None:
    store = MemoryStore()
    for step in (5, 10):
        store_checkpoint(store, step, encoded(step))
    newest = "checkpoints/step-00000010.pt"
    store.objects[newest] = spoil(store.objects[newest])
    found = find_checkpoint(store)
    assert found is not None
    assert (found.key, found.damaged) == ("checkpoints/step-00000005.pt", (newest,))
    # The next one that stands is not outlived by the damaged one.
    store_checkpoint(store, 7, encoded(7))
    assert stored_steps(store) == [5, 7]


def test_where_no_checkpoint_is_whole_nothing_is_begun_anew() -> None:
    store = MemoryStore({"checkpoints/step-00000005.pt": b"?"})
    with pytest.raises(DamagedError, match="resume=false"):
        find_checkpoint(store)
    assert find_checkpoint(MemoryStore()) is None


class Forgetful(MemoryStore):
    """Says that it wrote everything, and keeps half of it."""

    def write(self, key: str, data: bytes) -> ObjectInfo:
        return super().write(key, data[: len(data) // 2])


def test_no_checkpoint_is_removed_before_its_successor_stands() -> None:
    store = MemoryStore()
    for step in (5, 10):
        store_checkpoint(store, step, encoded(step))
    with pytest.raises(StorageError, match="free space"):
        store_checkpoint(Forgetful(store.objects), 15, encoded(15))
    assert {5, 10} <= set(stored_steps(store))
    found = find_checkpoint(store)
    assert found is not None and found.key.endswith("10.pt")


def test_a_store_that_fails_costs_a_warning_and_is_tried_again_in_the_background() -> None:
    store = MemoryStore(step=failing(3))
    output, heard = make_output(store)
    output.log({"step": 5, "pixel": 0.5})
    output.save(snapshot(5))
    wait_until(lambda: stored_steps(store) == [5])
    wait_until(lambda: heard.names() == ["checkpoint_failed", "checkpoint"])
    failed = next(line for line in heard if line.get("event") == "checkpoint_failed")
    assert (failed["step"], "no space" in failed["cause"]) == (5, True)
    # What could not be flushed was kept.
    assert lines(store, "metrics.jsonl") == [{"step": 5, "pixel": 0.5}]
    assert [e["event"] for e in lines(store, "events.jsonl")] == ["checkpoint_failed"]


def test_a_newer_state_takes_the_place_of_one_that_could_not_be_stored() -> None:
    store = MemoryStore()
    store_checkpoint(store, 1, encoded(1))
    is_full = threading.Event()
    is_full.set()

    def step(action: str, key: str) -> None:
        if is_full.is_set() and action == "write":
            raise StorageError("full")

    output, heard = make_output(store.seen_by(step))
    for number in (5, 10, 15):
        output.log({"step": number})
        output.save(snapshot(number))
        wait_until(
            lambda number=number: (
                {"event": "checkpoint_failed", "step": number, "cause": "full"} in heard
            )
        )
        assert stored_steps(store) == [1]
    is_full.clear()
    wait_until(lambda: stored_steps(store) == [1, 15])
    assert [line["step"] for line in lines(store, "metrics.jsonl")] == [5, 10, 15]


def test_training_does_not_wait_for_a_store_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_writer, "WAIT_SECONDS", 0.05)
    is_stuck, goes_on = threading.Event(), threading.Event()

    def step(action: str, key: str) -> None:
        if action == "write":
            is_stuck.set()
            goes_on.wait(5)

    store = MemoryStore()
    output, _ = make_output(store.seen_by(step))
    begun = time.monotonic()
    for number in (5, 10, 15):
        output.save(snapshot(number))
        assert is_stuck.wait(5)
    assert time.monotonic() - begun < 1
    goes_on.set()
    # 10 was replaced by 15 while 5 was in flight.
    wait_until(lambda: stored_steps(store) == [5, 15])


def test_the_state_that_is_stored_is_that_of_its_step() -> None:
    goes_on = threading.Event()
    store = MemoryStore()
    output, _ = make_output(store.seen_by(lambda action, key: goes_on.wait(5) and None))
    state = make_state(5)
    before = encode_snapshot(take_snapshot(state))
    output.save(take_snapshot(state))
    for parameter in state.generator.parameters():
        parameter.data.add_(1)
    state.step = 6
    goes_on.set()
    wait_until(lambda: stored_steps(store) == [5])
    kept, expected = make_state(0), make_state(0)
    restore_state(kept, store.objects["checkpoints/step-00000005.pt"], "")
    restore_state(expected, before, "")
    assert kept.step == 5
    for one, other in zip(
        kept.generator.parameters(), expected.generator.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_the_generator_is_stored_after_all_when_the_store_comes_back() -> None:
    store = MemoryStore(step=failing(3, prefix="generator"))
    output, heard = make_output(store)
    output.save(snapshot(5))
    output.finish(5, b"weights")
    assert store.objects["generator.safetensors"] == b"weights"
    assert heard.names() == ["checkpoint", "finished"]
    assert [e["event"] for e in lines(store, "events.jsonl")] == ["checkpoint", "finished"]


@pytest.mark.parametrize("prefix", ["generator", "checkpoints/"])
def test_a_store_that_stays_away_leaves_the_generator_in_a_file_that_is_named(prefix: str) -> None:
    output, heard = make_output(MemoryStore(step=failing(10**6, prefix=prefix)))
    output.save(snapshot(5))
    with pytest.raises(StorageError, match="The training is complete") as error:
        output.finish(5, b"weights")
    path = Path(next(word for word in str(error.value).split() if "ganray-generator-" in word))
    assert path.read_bytes() == b"weights"
    path.unlink()
    assert "finished" not in heard.names()


def test_a_stop_stores_a_last_state_and_says_so() -> None:
    store = MemoryStore()
    output, heard = make_output(store)
    output.stop(snapshot(7))
    assert stored_steps(store) == [7]
    assert heard[-1] == {"event": "stopped", "step": 7, "checkpoint_stored": True}


def test_a_stop_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganray.pipelines.train_output.STOP_SECONDS", 0.1)
    output, heard = make_output(MemoryStore(step=failing(10**6)))
    output.stop(snapshot(7))
    assert heard[-1] == {"event": "stopped", "step": 7, "checkpoint_stored": False}


def test_without_the_claim_nothing_is_written() -> None:
    store = MemoryStore()
    is_held = [False]
    output, heard = make_output(store, may_write=lambda: is_held[0])
    output.save(snapshot(5))
    wait_until(lambda: heard.names() == ["checkpoint_failed"])
    assert store.objects == {}
    is_held[0] = True
    wait_until(lambda: stored_steps(store) == [5])


def test_metrics_beyond_the_checkpoint_are_forgotten_and_events_are_not() -> None:
    store = MemoryStore()
    output, _ = make_output(store)
    for step in (1, 2, 3):
        output.log({"step": step})
    output.add_event({"event": "spike", "step": 3})
    output.flush()
    again, _ = make_output(store)
    again.begin(2)
    again.flush()
    assert lines(store, "metrics.jsonl") == [{"step": 1}, {"step": 2}]
    assert [event["event"] for event in lines(store, "events.jsonl")] == ["spike"]


def test_a_resumed_training_begins_where_metrics_were_never_stored() -> None:
    output, _ = make_output(MemoryStore())
    output.begin(5)


def test_a_bug_in_the_background_is_raised_in_the_foreground() -> None:
    def broken(item: int) -> None:
        raise ZeroDivisionError

    writer = BackgroundWriter(broken, lambda item, error: None)
    writer.put(1)
    with pytest.raises(ZeroDivisionError):
        writer.drain(5)


def test_a_closed_writer_tries_nothing_again() -> None:
    tried = []

    def refuse(item: int) -> None:
        tried.append(item)
        raise StorageError("no space left on device")

    writer = BackgroundWriter(refuse, lambda item, error: None)
    writer.put(1)
    wait_until(lambda: len(tried) > 2)
    writer.close()
    time.sleep(0.1)
    num_tried = len(tried)
    time.sleep(0.2)
    assert len(tried) == num_tried


def test_a_full_disk_is_told_and_the_last_good_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    store_checkpoint(store, 1, encoded(1))
    with monkeypatch.context() as full:

        def refuse(self: object, key: str, data: bytes) -> ObjectInfo:
            raise StorageError("write: no space left on device")

        full.setattr(type(store), "write", refuse)
        output, heard = make_output(store)
        output.save(snapshot(5))
        wait_until(lambda: heard.names() == ["checkpoint_failed"])
        found = find_checkpoint(store)
        assert found is not None and found.key.endswith("01.pt")
    wait_until(lambda: stored_steps(store) == [1, 5])


def test_what_is_written_is_looked_at() -> None:
    with pytest.raises(StorageError, match="holds 2 bytes after 5"):
        write_verified(Forgetful(), "key", b"12345")
