"""What the workers of a pool share: who began what, the stop, and where that is kept."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions

from ganray.pipelines import board
from ganray.pipelines.board import Beginning, Board


def test_every_beginning_after_the_first_is_a_loss() -> None:
    async def beginnings() -> list[Beginning]:
        shared = Board()
        first = [await shared.begin(7, worker) for worker in ("a", "b", "c")]
        return [*first, await shared.begin(8, "c")]

    assert asyncio.run(beginnings()) == [Beginning(False, losses) for losses in (0, 1, 2, 0)]


def test_after_a_stop_no_order_is_begun() -> None:
    async def story() -> tuple[Beginning, bool, set[int]]:
        shared = Board()
        await shared.begin(1, "a")
        await shared.stop()
        answer = await shared.begin(2, "a")
        return answer, await shared.is_stopped("a", 60.0), await shared.in_hand()

    assert asyncio.run(story()) == (Beginning(True, 0), True, {1})


def test_a_pool_that_is_not_stopped_says_so_after_the_time_given() -> None:
    assert asyncio.run(Board().is_stopped("a", 0.01)) is False


def test_what_a_silent_worker_had_in_hand_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(board, "time", SimpleNamespace(monotonic=lambda: now))

    async def story() -> set[int]:
        nonlocal now
        shared = Board()
        await shared.begin(1, "silent")
        await shared.begin(2, "heard")
        now += board.SILENT_SECONDS + 1
        await shared.is_stopped("heard", 0.0)
        return await shared.in_hand()

    assert asyncio.run(story()) == {2}


def test_the_board_lives_on_the_machine_of_the_driver_and_ends_with_the_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placed: list[dict[str, Any]] = []
    ended: list[object] = []

    class FakeActorClass:
        def options(self, **options: Any) -> "FakeActorClass":
            placed.append(options)
            return self

        def remote(self) -> object:
            return "the board"

    fake_ray = SimpleNamespace(
        remote=lambda **_: lambda _: FakeActorClass(),
        kill=ended.append,
        exceptions=ray.exceptions,
    )
    monkeypatch.setattr(board, "ray", fake_ray)
    monkeypatch.setattr(board, "beside_driver", lambda: "beside the driver")
    with board.StopRelay(None):
        assert placed == [{"scheduling_strategy": "beside the driver"}]
        assert ended == []
    assert ended == ["the board"]


def test_a_pool_has_ended_once_it_is_stopped_and_what_is_in_hand_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_hand = SimpleNamespace(remote=lambda: {1, 2})
    fake_ray = SimpleNamespace(get=lambda found: found, exceptions=ray.exceptions)
    monkeypatch.setattr(board, "ray", fake_ray)
    monkeypatch.setattr(board, "LOOK_SECONDS", 0.0)
    relay = board.StopRelay(None)
    relay.board = SimpleNamespace(in_hand=in_hand)
    assert not relay.has_ended({1, 2})
    relay.is_told = True
    assert not relay.has_ended({1})
    assert relay.has_ended({1, 2, 3})


@pytest.mark.parametrize(("num_breaks", "is_answered"), [(3, True), (board.ATTEMPTS, False)])
def test_a_connection_that_breaks_for_a_moment_is_tried_again(
    num_breaks: int, is_answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks = iter(range(num_breaks))

    def get(answer: str) -> str:
        if next(breaks, None) is not None:
            raise ray.exceptions.ActorUnavailableError("connection reset", b"a" * 16)
        return answer

    monkeypatch.setattr(board, "ray", SimpleNamespace(get=get, exceptions=ray.exceptions))
    monkeypatch.setattr(board, "PAUSE_SECONDS", 0)
    question = SimpleNamespace(remote=lambda: "yes")
    if is_answered:
        assert board.ask(question) == "yes"
    else:
        with pytest.raises(ray.exceptions.ActorUnavailableError):
            board.ask(question)
