"""The pool's bounds: an order that kills its workers ends the run, and no order ends nothing."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import ray

from ganray.errors import RunFailedError
from ganray.pipelines import board
from ganray.pipelines.pool import WorkerContext, run_pool
from ganray.pipelines.workers import WorkersConfig


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
    monkeypatch.setattr(board, "MAX_ORDER_LOSSES", 2)
    notes = tmp_path / "notes"
    with pytest.raises(RunFailedError, match="on the same order"):
        list(run_pool(MortalWorker, notes, ["harmless", "deadly"], WorkersConfig(max=1)))
    assert notes.read_text().split().count("deadly") == 3


def test_no_orders_need_no_cluster(tmp_path: Path) -> None:
    assert list(run_pool(MortalWorker, tmp_path / "notes", [], WorkersConfig(max=2))) == []


def test_workers_with_a_gpu_are_given_their_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray counts a GPU that it is told of, whether there is one or not.
    monkeypatch.setattr(ray, "init", partial(ray.init, num_gpus=1))
    workers = WorkersConfig(max=1, gpus=1)
    assert list(run_pool(MortalWorker, tmp_path / "notes", ["a", "b"], workers)) == ["a", "b"]
