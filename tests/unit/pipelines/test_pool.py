"""Where the pool's own actor lives; Ray itself is not started."""

from types import SimpleNamespace
from typing import Any

import pytest

from ganray.pipelines import pool


def test_the_flag_that_says_stop_lives_on_the_machine_of_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placed: list[dict[str, Any]] = []

    class FakeActorClass:
        def options(self, **options: Any) -> "FakeActorClass":
            placed.append(options)
            return self

        def remote(self) -> object:
            return object()

    monkeypatch.setattr(pool, "ray", SimpleNamespace(remote=lambda **_: lambda _: FakeActorClass()))
    monkeypatch.setattr(pool, "beside_driver", lambda: "beside the driver")
    with pool._StopRelay(None):
        assert placed == [{"scheduling_strategy": "beside the driver"}]
