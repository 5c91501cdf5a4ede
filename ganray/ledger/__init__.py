"""The ledger: the table of outcomes, in Parquet beside the restored archive.

A worker records a few inputs in one row object as soon as their outputs are written, so that
a kill loses nothing; the driver gathers row objects in sorted segments, and merges segments at
the end of a run. The latest row of a key is its state, wherever it stands. Start reading at
`ledger.py`.
"""

from ganray.ledger.ledger import Ledger
from ganray.ledger.row import LedgerRow, ResumeRow, State, Version
from ganray.ledger.scan import ROWS_PREFIX, SEGMENTS_PREFIX

__all__ = [
    "ROWS_PREFIX",
    "SEGMENTS_PREFIX",
    "Ledger",
    "LedgerRow",
    "ResumeRow",
    "State",
    "Version",
]
