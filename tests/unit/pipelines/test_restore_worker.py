"""What a worker in the driver's own process tells; nothing here starts Ray."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ganray.ledger import LedgerRow
from ganray.pipelines import metrics
from ganray.pipelines.image_task import ImageTask
from ganray.pipelines.restore import RestoreResult, run_restoration
from ganray.pipelines.restore_config import RestoreConfig
from tests.integration.pictures import write_pictures

NUM_PICTURES = 3


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What reaches Ray's exporter by name, of a process that is part of a cluster."""
    values: dict[str, float] = {}

    def make(name: str, *_: Any) -> Any:
        def add(value: float, tags: Any = None) -> None:
            values[name] = values.get(name, 0.0) + value

        return SimpleNamespace(inc=add, set=add, observe=add)

    monkeypatch.setattr(metrics, "ray", SimpleNamespace(is_initialized=lambda: True))
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(metrics, kind, make)
    return values


def restore_here(folder: Path, report: Any = lambda told: None) -> RestoreResult:
    write_pictures(folder / "photos", NUM_PICTURES, side=32)
    config = {"source": str(folder / "photos"), "target": str(folder / "restored")}
    given = RestoreConfig.model_validate(config | {"workers": {"max": 0}})
    return run_restoration(given, lambda plan: None, report)


def test_a_worker_in_the_process_exports_too_and_counts_no_retry_twice(
    tmp_path: Path, exported: dict[str, float]
) -> None:
    def report(told: Any) -> None:
        if isinstance(told, LedgerRow):
            logging.getLogger("ganray.storage.retry").warning("event=retry target=%r", told.key)

    restore_here(tmp_path, report)
    assert exported["ganray_windows_total"] == NUM_PICTURES
    assert exported["ganray_written_bytes_total"] > 0
    assert exported["ganray_store_retries_total"] == NUM_PICTURES


def test_a_worker_in_the_process_exports_while_its_order_goes_on(
    tmp_path: Path, exported: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "EXPORT_SECONDS", 0.001)
    during: list[float] = []

    def report(told: Any) -> None:
        deadline = time.monotonic() + 10
        while "ganray_windows_total" not in exported and time.monotonic() < deadline:
            time.sleep(0.005)
        during.append(exported.get("ganray_windows_total", 0.0))

    restore_here(tmp_path, report)
    assert during[0] > 0


def test_workers_time_is_by_the_clock_and_no_sum_of_overlapping_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ImageTask.store

    def slow(task: ImageTask) -> Any:
        return replace(store(task), seconds=1e6)

    monkeypatch.setattr(ImageTask, "store", slow)
    summary = restore_here(tmp_path).summary
    assert 0 < summary.worker_seconds <= summary.seconds
