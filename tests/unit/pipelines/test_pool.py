"""What the driver of a pool does with what it is told; Ray itself is not started."""

import logging
from types import SimpleNamespace

import pytest

from ganray.pipelines import pool
from ganray.pipelines.pool import orders_per_wave
from ganray.pipelines.workers import WorkersConfig


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
