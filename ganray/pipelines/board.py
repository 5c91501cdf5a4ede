"""What the workers of a pool share: the driver's wish to stop, which orders were begun, by whom.

It is an actor on the driver's node, lost only together with the run.
"""

import asyncio
import secrets
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions

from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.workers import beside_driver

STOP_WAIT_SECONDS = 10.0
"""A worker asks anew so often, which also says that it lives."""
BEAT_SECONDS = 2.0
SILENT_SECONDS = 30.0
"""After a stop a worker that was not heard of for so long is lost with what it had in hand."""
JOIN_SECONDS = 3.0
ATTEMPTS = 10
PAUSE_SECONDS = 1.0
LOOK_SECONDS = 0.5
MOST_WORKERS = 10_000
"""Of one pool: each has one question at the board that waits for the wish to stop."""


@dataclass(frozen=True)
class Beginning:
    """The answer to a worker that is to begin an order, and how many were lost with it before."""

    is_stopped: bool
    losses: int


class Board:
    """What all workers of a pool ask and tell. Asked twice by mistake, it may count a loss more."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()
        self._begun: Counter[int] = Counter()
        self._holders: dict[int, str] = {}
        self._heard: dict[str, float] = {}

    async def stop(self) -> None:
        self._stopped.set()

    async def is_stopped(self, worker: str, seconds: float) -> bool:
        """Hear that a worker lives; whether the pool is to stop, as soon as it is, or after so
        many seconds."""
        self._heard[worker] = time.monotonic()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)
        return self._stopped.is_set()

    async def begin(self, number: int, worker: str) -> Beginning:
        """Note that a worker begins an order, unless the pool is stopped."""
        losses = self._begun[number]
        if not self._stopped.is_set():
            self._heard[worker] = time.monotonic()
            self._holders[number] = worker
            self._begun[number] += 1
        return Beginning(self._stopped.is_set(), losses)

    async def in_hand(self) -> set[int]:
        """The orders that were begun by workers which live; some of them may be over."""
        earliest = time.monotonic() - SILENT_SECONDS
        living = {worker for worker, heard in self._heard.items() if heard >= earliest}
        return {number for number, worker in self._holders.items() if worker in living}


def ask(question: Any, *words: object) -> Any:
    """The board's answer. A connection may break for a moment: then it is asked again, and not by
    Ray, which would tell of a board that has ended as of a task that failed."""
    for _ in range(ATTEMPTS - 1):
        with suppress(ray.exceptions.ActorUnavailableError):
            return ray.get(question.remote(*words))
        time.sleep(PAUSE_SECONDS)
    return ray.get(question.remote(*words))


class StopRelay:
    """Carries a driver's `GracefulStop` over to a board on the cluster, which ends with it."""

    def __init__(self, stop: GracefulStop | None) -> None:
        self._stop = stop or GracefulStop()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ganray-relay", daemon=True)
        self._next_look = 0.0
        self.board: Any = None
        self.is_told = False

    def __enter__(self) -> "StopRelay":
        self._stop.listen_again()
        board = ray.remote(num_cpus=0, max_concurrency=MOST_WORKERS)(Board)
        self.board = board.options(scheduling_strategy=beside_driver()).remote()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(JOIN_SECONDS)
        with suppress(ray.exceptions.RayError):
            ray.kill(self.board)

    def has_ended(self, over: set[int]) -> bool:
        """Whether the pool is stopped, and all that living workers have in hand is `over`."""
        if not self.is_told or time.monotonic() < self._next_look:
            return False
        self._next_look = time.monotonic() + LOOK_SECONDS
        in_hand: set[int] = ask(self.board.in_hand)
        return in_hand <= over

    def _watch(self) -> None:
        while not self._is_over.wait(0.1):
            if self._stop.is_set():
                with suppress(ray.exceptions.RayError):
                    ask(self.board.stop)
                    self.is_told = True
                return


class RemoteFlag:
    """The wish to stop as a worker sees it: known at once, told within a moment."""

    def __init__(self, board: Any) -> None:
        self.worker = secrets.token_hex(8)
        """The name of this process: an actor that Ray starts anew has another."""
        self._board = board
        self._is_set = False
        threading.Thread(target=self._watch, name="ganray-stop", daemon=True).start()

    def is_set(self) -> bool:
        return self._is_set

    def _watch(self) -> None:
        # Ends with the board: then the pool is over, and Ray ends this process.
        with suppress(ray.exceptions.RayError):
            while True:
                self._is_set = ask(self._board.is_stopped, self.worker, STOP_WAIT_SECONDS)
                if self._is_set:
                    time.sleep(BEAT_SECONDS)
