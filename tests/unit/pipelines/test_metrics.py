"""Metrics are collected anywhere and exported in a cluster alone; stages add up."""

import inspect
import logging
import pickle
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from ganray.ledger import LedgerRow
from ganray.pipelines import metrics, metrics_worker
from ganray.pipelines.metrics import METRICS, Meters, Metric
from ganray.pipelines.metrics_run import RestoreMeters, TrainMeters
from ganray.pipelines.metrics_worker import MeteredStore, WorkerMeters, exported
from ganray.pipelines.summary import InputCounts
from ganray.storage import open_store

COUNTER = Metric("ganray_some_total", "counter", "Some.", ("kind",))
GAUGE = Metric("ganray_level", "gauge", "A level.")


class FakeRay:
    """Ray's metrics, kept in a dictionary; a cluster that can be joined."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, tuple[str, ...]], list[float]] = {}
        self.is_joined = False

    def is_initialized(self) -> bool:
        return self.is_joined

    def make(self, name: str, *_: Any) -> Any:
        def keep(value: float, tags: dict[str, str] | None = None) -> None:
            self.values.setdefault((name, tuple((tags or {}).values())), []).append(value)

        return SimpleNamespace(inc=keep, set=keep, observe=keep)


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(metrics, "ray", fake)
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(metrics, kind, fake.make)
    return fake


class FakeClock:
    """Time that passes when it is told to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(metrics_worker, "time", fake)
    return fake


def test_all_metrics_of_the_module_are_in_its_table() -> None:
    named = [value for _, value in inspect.getmembers(metrics) if isinstance(value, Metric)]
    assert {metric.name for metric in named} == {metric.name for metric in METRICS}


def test_nothing_is_exported_without_a_cluster(fake_ray: FakeRay) -> None:
    meters = Meters()
    with meters.exporting():
        meters.add(COUNTER, 1, "a")
        meters.set(GAUGE, 1)
    assert fake_ray.values == {}


def test_what_was_counted_before_the_cluster_is_exported_once_it_is_there(
    fake_ray: FakeRay,
) -> None:
    meters = Meters()
    meters.add(COUNTER, 1, "a")
    meters.add(COUNTER, 2, "a")
    meters.add(COUNTER, 5, "b")
    meters.flush()
    fake_ray.is_joined = True
    meters.flush()
    meters.flush()
    assert fake_ray.values == {
        ("ganray_some_total", ("a",)): [3],
        ("ganray_some_total", ("b",)): [5],
    }


def test_a_gauge_is_told_anew_as_long_as_it_is_exported(
    fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "EXPORT_SECONDS", 0.001)
    fake_ray.is_joined = True
    told = threading.Event()
    meters = Meters()
    meters.set(GAUGE, 7)
    make = fake_ray.make

    def note(name: str, *words: Any) -> Any:
        made = make(name, *words)

        def keep(value: float, tags: dict[str, str] | None = None) -> None:
            made.set(value, tags)
            if len(fake_ray.values["ganray_level", ()]) > 2:
                told.set()

        return SimpleNamespace(set=keep)

    monkeypatch.setattr(metrics, "Gauge", note)
    with meters.exporting():
        assert told.wait(60)
    assert set(fake_ray.values["ganray_level", ()]) == {7}


def test_a_stage_is_without_the_time_of_a_stage_inside_it_and_without_what_is_excluded(
    fake_ray: FakeRay, clock: FakeClock
) -> None:
    fake_ray.is_joined = True
    meters = Meters()
    worker = WorkerMeters(meters)
    with worker.stage("decode"):
        clock.now += 1
        with worker.stage("read"):
            clock.now += 10
        clock.now += 100
        worker.exclude(40)
    with worker.stage("encode"):
        clock.now += 1000
    meters.flush()
    stages = {labels[0]: sum(v) for (_, labels), v in fake_ray.values.items()}
    assert stages == {"decode": 61, "read": 10, "encode": 1000}


def test_a_metered_store_counts_bytes_and_pickled_it_is_the_store_alone(
    fake_ray: FakeRay, tmp_path: Any
) -> None:
    fake_ray.is_joined = True
    meters = Meters()
    store = MeteredStore(open_store(str(tmp_path)), WorkerMeters(meters))
    store.write("a", b"12345")
    with store.multipart("b") as upload:
        upload.upload(1, b"123")
    assert store.read("a", 1, 3) == b"23"
    meters.flush()
    assert fake_ray.values["ganray_written_bytes_total", ()] == [8]
    assert fake_ray.values["ganray_read_bytes_total", ()] == [2]
    other = pickle.loads(pickle.dumps(store))
    assert not isinstance(other, MeteredStore)
    assert other.read("b") == b"123"


def test_retries_of_a_store_are_counted_while_a_process_exports(fake_ray: FakeRay) -> None:
    fake_ray.is_joined = True
    logger = logging.getLogger("ganray.storage.retry")
    with exported(Meters()):
        logger.warning("event=retry target=%r", "a")
        logger.warning("event=other")
    logger.warning("event=retry target=%r", "b")
    assert fake_ray.values["ganray_store_retries_total", ()] == [1]


def row(state: str, **fields: Any) -> LedgerRow:
    given = {"recorded_at": 0.0, "run_id": "r", "attempts": 1} | fields
    return LedgerRow("k", "e", "g", "c", state, **given)  # type: ignore[arg-type]


def test_rows_of_a_restoration_become_counts_and_failures_by_their_class(
    fake_ray: FakeRay,
) -> None:
    fake_ray.is_joined = True
    with RestoreMeters() as meters:
        counts = InputCounts(listed=4, restored=1, failed=2, pending=1)
        meters.take(row("restored", input_pixels=10, output_pixels=40, seconds=2.0), counts)
        meters.take(row("failed", reason="text of any length", error="CodecError"), counts)
        meters.take(row("failed", reason="of an earlier version"), counts)
    values = {key: v[-1] for key, v in fake_ray.values.items()}
    assert values["ganray_inputs", ("pending",)] == 1
    assert values["ganray_failures_total", ("CodecError",)] == 1
    assert values["ganray_failures_total", ("unknown",)] == 1
    assert values["ganray_output_pixels_total", ()] == 40
    assert values["ganray_input_seconds", ()] == 2.0
    assert values["ganray_run_start_timestamp_seconds", ("restore",)] > 0


def test_a_training_tells_its_step_losses_time_and_events(fake_ray: FakeRay) -> None:
    fake_ray.is_joined = True
    line = {"step": 20, "stage": "fidelity", "pixel": 0.5, "patches_per_second": 9.0}
    with TrainMeters() as meters:
        meters.hear(line | {"time_data": 0.25})
        meters.hear({"event": "rolled_back", "step": 20, "cause": "text"})
    values = {key: v[-1] for key, v in fake_ray.values.items()}
    assert values["ganray_train_step", ()] == 20
    assert values["ganray_train_value", ("pixel",)] == 0.5
    assert values["ganray_train_time_ratio", ("data",)] == 0.25
    assert values["ganray_train_patches_per_second", ()] == 9
    assert values["ganray_train_events_total", ("rolled_back",)] == 1


def test_a_training_that_never_begins_has_its_progress_from_the_start(fake_ray: FakeRay) -> None:
    fake_ray.is_joined = True
    with TrainMeters():
        pass
    for name in ("start", "progress"):
        assert fake_ray.values[f"ganray_run_{name}_timestamp_seconds", ("train",)][0] > 0
