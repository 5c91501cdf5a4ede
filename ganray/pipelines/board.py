"""What the workers of a pool share: the driver's wish to stop, and how often an order was begun.

It is an actor on the driver's node, lost only together with the run.
"""

import asyncio
import logging
import threading
from collections import Counter
from contextlib import suppress
from typing import Any

import ray
import ray.exceptions

from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.workers import beside_driver

# Workers may be lost as often as spot nodes are; the same order may not. A worker that is started
# anew finds the input at fault at its second death, so that this allows for four of them in one
# order. Counted here: of Ray's own retries a lost node takes one a second until it is noticed.
MAX_ORDER_LOSSES = 8
STOP_WAIT_SECONDS = 10.0
STOPPED = -1
# That may wait for the wish to stop at once.
MOST_WORKERS = 10_000

_log = logging.getLogger(__name__)


class Board:
    """What all workers of a pool ask and tell: the wish to stop, how often an order was begun."""

    def __init__(self, max_losses: int) -> None:
        self._max_losses = max_losses
        self._stopped = asyncio.Event()
        self._begun: Counter[int] = Counter()

    async def stop(self) -> None:
        self._stopped.set()

    async def is_stopped(self, seconds: float) -> bool:
        """Whether the pool is to stop, as soon as it is, or after so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)
        return self._stopped.is_set()

    async def begin(self, number: int) -> int:
        """Count one more beginning of an order: STOPPED if it is not to begin, the workers lost
        with it if they are too many, and else 0."""
        if self._stopped.is_set():
            return STOPPED
        losses = self._begun[number]
        self._begun[number] += 1
        return losses if losses > self._max_losses else 0

    async def begun(self) -> set[int]:
        """The orders that were begun; after a stop there will be no others."""
        return set(self._begun)


class StopRelay:
    """Carries a driver's `GracefulStop` over to a board on the cluster."""

    def __init__(self, stop: GracefulStop | None) -> None:
        self._stop = stop or GracefulStop()
        self._is_over = threading.Event()
        self.board: Any = None
        self.is_told = False

    def __enter__(self) -> "StopRelay":
        if self._stop.is_listening:
            self._stop.listen()
        options = {"num_cpus": 0, "max_concurrency": MOST_WORKERS}
        board = ray.remote(**options)(Board)
        self.board = board.options(scheduling_strategy=beside_driver()).remote(MAX_ORDER_LOSSES)
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def _watch(self) -> None:
        while not self._is_over.wait(0.1):
            if self._stop.is_set():
                ray.get(self.board.stop.remote())
                self.is_told = True
                return


class RemoteFlag:
    """The wish to stop as a worker sees it: known at once, told within a moment."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._is_set = False
        threading.Thread(target=self._watch, name="ganray-stop", daemon=True).start()

    def is_set(self) -> bool:
        return self._is_set

    def _watch(self) -> None:
        while not self._is_set:
            try:
                self._is_set = bool(ray.get(self._board.is_stopped.remote(STOP_WAIT_SECONDS)))
            except ray.exceptions.RayError as error:
                # The driver is gone, and Ray ends this process with it.
                _log.warning("event=stop_flag_lost cause=%r", str(error))
                return
