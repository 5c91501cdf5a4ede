"""How many nodes of a cluster can hold a worker, as they come and go."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions

LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeCount:
    """A number of nodes, from a moment in seconds since the epoch on."""

    since: float
    number: int


def can_hold(node: Mapping[str, Any], worker: Mapping[str, float]) -> bool:
    """Whether a node that Ray lists lives and is large enough for a worker, were it idle."""
    room = node["Resources"]
    return node["Alive"] and all(room.get(name, 0) >= asked for name, asked in worker.items())


class NodeWatch:
    """Tells `hear` how many nodes could hold a worker, at first and whenever that has changed.

    A context, within the connection to the cluster. A node that is lost counts until Ray has
    noticed.
    """

    def __init__(self, worker: Mapping[str, float], hear: Callable[[NodeCount], None]) -> None:
        self._worker = worker
        self._hear = hear
        self._number: int | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ganray-nodes", daemon=True)

    def __enter__(self) -> "NodeWatch":
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        # Not longer: while a head is away its answer may take minutes, and the run is at its end.
        self._thread.join(LOOK_SECONDS)

    def _watch(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            number = sum(can_hold(node, self._worker) for node in ray.nodes())
        except (ray.exceptions.RayError, RuntimeError) as error:
            # A connection that is gone ends no run here.
            _log.warning("event=nodes_unknown cause=%r", str(error))
            return
        if number != self._number:
            self._number = number
            self._hear(NodeCount(time.time(), number))
