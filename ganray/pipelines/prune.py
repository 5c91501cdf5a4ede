"""The removal of outputs whose inputs are no longer in the archive."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from ganray.claim import claimed
from ganray.codecs import catalog
from ganray.codecs.catalog import is_tiff
from ganray.codecs.stac import item_key
from ganray.errors import EmptyArchiveError
from ganray.ledger import Ledger, LedgerRow
from ganray.manifest import Selection, list_images
from ganray.pipelines.archives import open_archive
from ganray.pipelines.spool import Spool
from ganray.pipelines.status import LatestRun, open_latest_run

ROWS_PER_RECORD = 1000
OUTPUTS_PER_LISTING = 100_000
"""Names that are compared with one listing of the archive: all that is in memory."""


def list_vanished(target: str) -> Iterator[str]:
    """Keys that the target holds an output of and that are no longer in the archive."""
    return (row.key for row in _vanished(open_latest_run(target)))


def prune_target(target: str) -> Iterator[str]:
    """Remove the outputs whose inputs are no longer in the archive; yield their keys.

    An output that an input of another name has taken over stays. Raises ClaimedError while a run
    is at work, EmptyArchiveError if nothing at all is left: then it is the archive that is missing.
    """
    run = open_latest_run(target)
    with claimed(run.store, f"prune-{secrets.token_hex(8)}"):
        rows = _without_taken_over(run, _vanished(run))
        while batch := list(islice(rows, ROWS_PER_RECORD)):
            _prune(run, batch)
            yield from (row.key for row in batch)


def _prune(run: LatestRun, batch: list[LedgerRow]) -> None:
    # Recorded first: an output that is gone while its row says "restored" would not be restored
    # again when its input comes back.
    pruned = [replace(row, state="pruned", recorded_at=time.time()) for row in batch]
    Ledger(run.store).record(pruned, f"pruned-{time.time_ns():x}")
    for row in batch:
        if row.output:
            run.store.delete(row.output)
            if is_tiff(row.output):
                run.store.delete(item_key(row.output))


def _without_taken_over(run: LatestRun, vanished: Spool[LedgerRow]) -> Iterator[LedgerRow]:
    """The vanished rows, without the outputs that a listed input owns: selected by the run or not,
    since an earlier run may have restored it."""
    archive, codecs = open_archive(run.config.source), run.config.codecs
    outputs, rows = (row.output for row in vanished), iter(vanished)
    while names := list(islice(outputs, OUTPUTS_PER_LISTING)):
        listed = list_images(archive, Selection())
        owned = set(names).intersection(catalog.output_key(info.key, codecs) for info in listed)
        for row in islice(rows, len(names)):
            yield replace(row, output="") if row.output in owned else row


def _vanished(run: LatestRun) -> Spool[LedgerRow]:
    num_inputs = 0
    vanished: Spool[LedgerRow] = Spool()
    for info, row in run.joined(open_archive(run.config.source)):
        num_inputs += info is not None
        if info is None and row is not None:
            vanished.append(row)
    if len(vanished) and not num_inputs:
        raise EmptyArchiveError(
            f"{run.config.source} holds no image any more; expected some. If the archive is meant "
            "to be gone, remove the target as a whole"
        )
    return vanished
