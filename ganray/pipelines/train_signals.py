"""What a training's driver wants of its workers: to stop, or to write nothing for now.

The driver alone holds the claim on the output and hears SIGTERM; workers on other machines ask
for both, a few times per second.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions

from ganray.claim import Claim
from ganray.errors import StorageError
from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.train_output import Report
from ganray.pipelines.workers import beside_driver

POLL_SECONDS = 0.25
REGAIN_SECONDS = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What the driver wants. To stop without being allowed to write is to leave at once."""

    stop: bool = False
    may_write: bool = True


NOTHING = Wish()
LEAVE = Wish(stop=True, may_write=False)


@dataclass(frozen=True)
class Link:
    """A worker's way to the driver: where it reports, and what the driver wishes."""

    report: Report
    wish: Callable[[], Wish]

    def stops(self) -> bool:
        return self.wish().stop

    def may_write(self) -> bool:
        return self.wish().may_write


class Wishes:
    """The driver's wishes: those of SIGTERM and of its claim.

    A claim that was lost because the store did not answer is taken up again when it does;
    meanwhile nothing is written. `is_taken` says that another run has it.
    """

    def __init__(self, stop: GracefulStop, claim: Claim) -> None:
        self.is_taken = False
        self._stop = stop
        self._claim = claim
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._regain, name="ganray-wishes", daemon=True)

    def __enter__(self) -> "Wishes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(REGAIN_SECONDS)

    def wish(self) -> Wish:
        if self.is_taken:
            return LEAVE
        return Wish(self._stop.is_set(), not self._claim.lost)

    def _regain(self) -> None:
        while not self._is_over.wait(REGAIN_SECONDS) and not self.is_taken:
            if self._claim.lost:
                try:
                    self.is_taken = not self._claim.regain()
                except StorageError as error:
                    _log.warning("event=claim_in_doubt cause=%r", str(error))


class _Board:
    """The driver's wish, where every worker can ask for it."""

    def __init__(self) -> None:
        self._wish = NOTHING

    def show(self, wish: Wish) -> None:
        self._wish = wish

    def read(self) -> Wish:
        return self._wish


@contextmanager
def shown_wishes(wishes: Wishes) -> Iterator[Any]:
    """An actor on the driver's machine that shows what the driver wishes."""
    board = ray.remote(num_cpus=0)(_Board).options(scheduling_strategy=beside_driver()).remote()
    is_over = threading.Event()

    def watch() -> None:
        shown = NOTHING
        while not is_over.wait(POLL_SECONDS):
            if (wish := wishes.wish()) != shown:
                board.show.remote(wish)
                shown = wish

    threading.Thread(target=watch, name="ganray-board", daemon=True).start()
    try:
        yield board
    finally:
        is_over.set()


class WatchedBoard:
    """The board as a worker sees it: asked for now and then, known at once."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._wish: Wish = ray.get(board.read.remote())
        threading.Thread(target=self._watch, name="ganray-wish", daemon=True).start()

    def wish(self) -> Wish:
        return self._wish

    def _watch(self) -> None:
        while True:
            time.sleep(POLL_SECONDS)
            try:
                self._wish = ray.get(self._board.read.remote())
            except ray.exceptions.RayError as error:
                # The driver is gone, and Ray ends this process with it; the output is another's.
                _log.warning("event=driver_lost cause=%r", str(error))
                self._wish = LEAVE
                return
