"""The pool's bounds: an order that kills its workers ends the run, and no order ends nothing."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import ray

from ganray.errors import ConfigError, RunFailedError
from ganray.pipelines import pool
from ganray.pipelines.pool import WorkerContext, run_pool
from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.workers import WorkersConfig

SECONDS = 120


class MortalWorker:
    """Notes every order in the job's file; the order "deadly" kills its process."""

    def __init__(self, job: Path, context: WorkerContext) -> None:
        self.notes = job

    def run(self, order: str) -> Iterator[str]:
        with self.notes.open("a") as file:
            file.write(f"{order}\n")
        if order == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        yield order

    def close(self) -> None:
        pass


def test_an_order_that_kills_its_workers_is_tried_a_bounded_number_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MAX_ORDER_LOSSES", 2)
    notes = tmp_path / "notes"
    with pytest.raises(RunFailedError, match="on the same order"):
        list(run_pool(MortalWorker, notes, ["harmless", "deadly"], WorkersConfig(max=1)))
    assert notes.read_text().split().count("deadly") == 3


class UnequippedWorker(MortalWorker):
    """Finds at its start that something is missing."""

    def __init__(self, job: Path, context: WorkerContext) -> None:
        raise ConfigError("the weights of 'niqe' are missing; name them")


def test_what_a_worker_misses_at_its_start_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the weights of 'niqe' are missing"):
        list(run_pool(UnequippedWorker, tmp_path / "notes", ["a", "b"], WorkersConfig(max=2)))


def test_a_stop_is_heard_while_no_worker_has_come(tmp_path: Path) -> None:
    # A cluster that is another's is asked for nothing: its nodes may come, or never.
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    stop = GracefulStop()
    threading.Timer(2.0, stop.ask, ["deadline"]).start()
    rows = run_pool(MortalWorker, tmp_path / "notes", ["a", "b"], WorkersConfig(gpus=1), stop)
    try:
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(list, rows).result(SECONDS) == []
    finally:
        ray.shutdown()


def test_a_stop_lets_the_orders_at_hand_end_and_begins_no_other(tmp_path: Path) -> None:
    stop = GracefulStop()
    rows = run_pool(MortalWorker, tmp_path / "notes", [str(i) for i in range(300)],
                    WorkersConfig(max=1), stop)  # fmt: skip
    told = [next(rows)]
    stop.ask("deadline")
    told += rows
    begun = (tmp_path / "notes").read_text().split()
    assert sorted(told) == sorted(begun)
    assert len(begun) < 300


def test_no_orders_need_no_cluster(tmp_path: Path) -> None:
    assert list(run_pool(MortalWorker, tmp_path / "notes", [], WorkersConfig(max=2))) == []


def test_workers_with_a_gpu_are_given_their_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray counts a GPU that it is told of, whether there is one or not.
    monkeypatch.setattr(ray, "init", partial(ray.init, num_gpus=1))
    workers = WorkersConfig(max=1, gpus=1)
    assert list(run_pool(MortalWorker, tmp_path / "notes", ["a", "b"], workers)) == ["a", "b"]
