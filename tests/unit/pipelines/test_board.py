"""What the workers of a pool share: the count of losses, the stop, and where both are kept."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ganray.pipelines import board
from ganray.pipelines.board import STOPPED, Board


def test_an_order_may_be_begun_again_as_often_as_its_losses_allow() -> None:
    async def beginnings() -> list[int]:
        shared = Board(max_losses=2)
        return [await shared.begin(7) for _ in range(4)] + [await shared.begin(8)]

    # Three beginnings are two losses, which are allowed; the fourth tells of the third.
    assert asyncio.run(beginnings()) == [0, 0, 0, 3, 0]


def test_after_a_stop_no_order_is_begun() -> None:
    async def story() -> tuple[int, bool, set[int]]:
        shared = Board(max_losses=2)
        await shared.begin(1)
        await shared.stop()
        return await shared.begin(2), await shared.is_stopped(60.0), await shared.begun()

    assert asyncio.run(story()) == (STOPPED, True, {1})


def test_a_pool_that_is_not_stopped_says_so_after_the_time_given() -> None:
    assert asyncio.run(Board(max_losses=0).is_stopped(0.01)) is False


def test_the_board_lives_on_the_machine_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[dict[str, Any]] = []

    class FakeActorClass:
        def options(self, **options: Any) -> "FakeActorClass":
            placed.append(options)
            return self

        def remote(self, max_losses: int) -> object:
            return object()

    fake_ray = SimpleNamespace(remote=lambda **_: lambda _: FakeActorClass())
    monkeypatch.setattr(board, "ray", fake_ray)
    monkeypatch.setattr(board, "beside_driver", lambda: "beside the driver")
    with board.StopRelay(None):
        assert placed == [{"scheduling_strategy": "beside the driver"}]
