"""What the driver of a pool does with what it is told; Ray itself is not started."""

import logging
import pickle
import threading
from collections.abc import Iterator
from itertools import chain, count
from types import SimpleNamespace

import pytest

from ganray.pipelines import pool
from ganray.pipelines.pool import orders_per_wave
from ganray.pipelines.workers import WorkersConfig


def over(number: int) -> dict[str, object]:
    return {"row": b"", "over": number}


def row(value: str) -> dict[str, object]:
    return {"row": pickle.dumps(value), "over": -1}


def test_after_a_stop_what_is_in_hand_is_waited_for_and_nothing_else() -> None:
    # Orders without end are told to be over: they were not begun.
    told = [row("a"), over(0), *[over(n) for n in range(2, 10)], row("b"), over(1)]
    outcomes = SimpleNamespace(iter_rows=lambda: chain(told, map(over, count(10))))
    relay = SimpleNamespace(is_told=True, in_hand=lambda: {0, 1})
    assert list(pool._rows(outcomes, relay)) == ["a", "b"]


def test_a_stop_ends_a_pool_that_no_worker_has_come_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.01)
    a_worker_comes = threading.Event()

    def rows() -> Iterator[dict[str, object]]:
        a_worker_comes.wait()
        yield over(0)

    relay = SimpleNamespace(is_told=True, in_hand=set)
    try:
        assert list(pool._rows(SimpleNamespace(iter_rows=rows), relay)) == []
        assert not a_worker_comes.is_set()
    finally:
        a_worker_comes.set()


@pytest.mark.parametrize(("workers", "num_orders"), [(0, 1024), (2, 1024), (64, 4096)])
def test_a_wave_of_a_large_pool_is_longer(workers: int, num_orders: int) -> None:
    assert orders_per_wave(WorkersConfig(min=0, max=workers)) == num_orders


@pytest.mark.parametrize(
    ("nodes", "is_told"),
    [
        ([{"CPU": 4.0, "GPU": 1.0}], False),
        # Four small nodes hold no large worker.
        ([{"CPU": 2.0, "GPU": 1.0}] * 4, True),
        ([{"CPU": 8.0}], True),
    ],
)
def test_a_pool_that_no_node_can_hold_says_what_it_waits_for(
    nodes: list[dict[str, float]],
    is_told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = [{"Alive": True, "Resources": resources} for resources in nodes]
    monkeypatch.setattr(pool, "ray", SimpleNamespace(nodes=lambda: found))
    with caplog.at_level(logging.WARNING):
        pool._warn_of_no_room(WorkersConfig(cpus=4, gpus=1))
    assert ("event=waiting_for_nodes CPU=4 GPU=1" in caplog.text) == is_told
