"""The driver's book of scenes: which windows are restored, and what is to be done next."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ganray.ledger import LedgerRow
from ganray.pipelines.restore_orders import (
    AssemblyOrder,
    Outcome,
    Scene,
    SceneFailed,
    SceneFound,
    WindowDone,
    WindowOrder,
    WorkOrder,
)

LARGEST_WINDOW_ORDER = 16
ORDERS_PER_WORKER = 4


@dataclass
class _Entry:
    scene: Scene
    run_bytes: dict[int, int] = field(default_factory=dict)
    has_failed: bool = False
    is_issued: bool = False
    is_assembling: bool = False

    @property
    def is_complete(self) -> bool:
        return len(self.run_bytes) == self.scene.num_windows


class SceneBook:
    """Turns scenes into window orders, and complete ones into assembly orders."""

    def __init__(self, num_workers: int) -> None:
        self._num_workers = max(1, num_workers)
        self._entries: dict[str, _Entry] = {}
        self._num_orders = 0
        self._waiting: deque[WorkOrder] = deque()

    def take(self, outcome: Outcome) -> LedgerRow | None:
        """Note an outcome; a scene's first failure is returned to be recorded."""
        if isinstance(outcome, SceneFound):
            self._entries.setdefault(outcome.scene.item.key, _Entry(outcome.scene))
        elif isinstance(outcome, WindowDone):
            entry = self._entries[outcome.scene.item.key]
            entry.run_bytes[outcome.index] = outcome.num_bytes
        elif isinstance(outcome, SceneFailed):
            entry = self._entries[outcome.scene.item.key]
            if not entry.has_failed:
                entry.has_failed = True
                return outcome.row
        elif isinstance(outcome, LedgerRow):
            self._entries.pop(outcome.key, None)
        return None

    def scene_of(self, key: str) -> Scene | None:
        """The scene of an input that is not finished yet."""
        entry = self._entries.get(key)
        return entry.scene if entry else None

    def orders(self) -> Iterator[WorkOrder]:
        """Orders that can be carried out now. Each is issued once: one that is not taken from
        the iterator waits for the next."""
        for entry in self._entries.values():
            if entry.is_complete and not entry.has_failed and not entry.is_assembling:
                entry.is_assembling = True
                self._waiting.append(self._assembly(entry))
            elif not entry.is_issued:
                entry.is_issued = True
                self._waiting.extend(self._windows(entry.scene))
        while self._waiting:
            order = self._waiting.popleft()
            if not self._is_in_vain(order):
                yield order

    def _is_in_vain(self, order: WorkOrder) -> bool:
        """Whether a scene has failed before all of its windows were ordered."""
        if not isinstance(order, WindowOrder):
            return False
        entry = self._entries.get(order.scene.item.key)
        return entry is None or entry.has_failed

    def _assembly(self, entry: _Entry) -> AssemblyOrder:
        sizes = tuple(entry.run_bytes[index] for index in range(entry.scene.num_windows))
        return AssemblyOrder(self._name(), entry.scene, sizes)

    def _windows(self, scene: Scene) -> Iterator[WindowOrder]:
        share = scene.num_windows // (self._num_workers * ORDERS_PER_WORKER)
        size = max(1, min(share, LARGEST_WINDOW_ORDER))
        for begin in range(0, scene.num_windows, size):
            windows = tuple(range(begin, min(begin + size, scene.num_windows)))
            yield WindowOrder(self._name(), scene, windows)

    def _name(self) -> str:
        self._num_orders += 1
        return f"scene-{self._num_orders:07d}"
