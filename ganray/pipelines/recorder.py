"""The driver's part of the ledger: it merges what workers have recorded, and adds its own rows."""

from ganray.ledger import Ledger, LedgerRow
from ganray.pipelines.restore_orders import OrderDone

ROWS_PER_SEGMENT = 10_000


class Recorder:
    """Buffers rows until they make a segment; what is buffered is recorded already."""

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self.ledger = ledger
        self.run_id = run_id
        self._rows: list[LedgerRow] = []
        self._objects: list[str] = []
        self._own: list[LedgerRow] = []
        self._num_segments = 0

    def take(self, row: LedgerRow) -> None:
        """Remember a row that a worker has recorded."""
        self._rows.append(row)

    def close_order(self, order: OrderDone) -> None:
        """Remember the objects of an order that has ended, which may now be merged."""
        self._objects += order.objects
        if len(self._rows) >= ROWS_PER_SEGMENT:
            self.flush()

    def record(self, row: LedgerRow) -> None:
        """Add a row of the driver's own."""
        self._own.append(row)
        if len(self._own) >= ROWS_PER_SEGMENT:
            self.flush()

    def flush(self) -> None:
        """Write one segment of all that is buffered, and remove the objects that it replaces."""
        if self._rows or self._own:
            name = f"{self.run_id}-{self._num_segments:05d}"
            # Rows of an order that has not ended are in objects that stay; merged twice, they
            # count once.
            self.ledger.absorb([*self._rows, *self._own], self._objects, name)
            self._num_segments += 1
            self._rows, self._objects, self._own = [], [], []

    def compact(self) -> None:
        self.flush()
        self.ledger.compact(self.run_id)
