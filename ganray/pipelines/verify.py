"""The audit of an archive against a target, and the removal of outputs whose inputs are gone."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from ganray.claim import claimed
from ganray.codecs import photo
from ganray.codecs.tiff_windows import TiffWindows
from ganray.errors import CodecError, EmptyArchiveError, NotFoundError
from ganray.ledger import Ledger, LedgerRow
from ganray.pipelines.archives import open_archive
from ganray.pipelines.restore_orders import STAGING_PREFIX
from ganray.pipelines.status import LatestRun, open_latest_run
from ganray.storage import ObjectInfo, Store

READ_THREADS = 8
PAIRS_AHEAD = 4 * READ_THREADS
ROWS_PER_RECORD = 1000
NO_LIMIT = 2**63
CHUNK_BYTES = 2**23

PairT = TypeVar("PairT")
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One thing that is not as the ledger says."""

    key: str
    what: str


@dataclass
class Audit:
    """What an audit has seen so far."""

    num_inputs: int = 0
    num_problems: int = 0


def verify_target(target: str, audit: Audit) -> Iterator[Problem]:
    """Audit the archive of the latest run against `target`, in flat memory.

    Every input has one state; every restored output exists, has the recorded bytes and
    decodes to the recorded size; nothing is left in staging.
    """
    run = open_latest_run(target)
    archive = open_archive(run.config.source)
    for info in run.store.list(STAGING_PREFIX):
        audit.num_problems += 1
        yield Problem(info.key, "left in staging")
    for problems in _in_order(lambda pair: list(_audit(run, *pair)), run.joined(archive)):
        audit.num_inputs += 1
        audit.num_problems += len(problems)
        yield from problems


def list_vanished(target: str) -> Iterator[str]:
    """Keys that the target holds an output of and that are no longer in the archive."""
    return (row.key for row in _vanished(open_latest_run(target)))


def prune_target(target: str) -> Iterator[str]:
    """Remove the outputs whose inputs are no longer in the archive; yield their keys.

    Raises ClaimedError while a run is at work, EmptyArchiveError if nothing at all is left:
    then it is the archive that is missing.
    """
    run = open_latest_run(target)
    with claimed(run.store, f"{run.run_id}-prune"):
        pruned: list[LedgerRow] = []
        for row in _vanished(run):
            if row.output:
                run.store.delete(row.output)
            yield row.key
            pruned.append(replace(row, state="pruned", recorded_at=time.time()))
        ledger = Ledger(run.store)
        for begin in range(0, len(pruned), ROWS_PER_RECORD):
            ledger.record(pruned[begin : begin + ROWS_PER_RECORD], f"pruned-{time.time_ns():x}")


def _vanished(run: LatestRun) -> Iterator[LedgerRow]:
    archive = open_archive(run.config.source)
    num_inputs = 0
    vanished = []
    for info, row in run.joined(archive):
        num_inputs += info is not None
        if info is None and row is not None:
            vanished.append(row)
    if vanished and not num_inputs:
        raise EmptyArchiveError(
            f"{run.config.source} holds no image any more; expected some. If the archive is meant "
            "to be gone, remove the target as a whole"
        )
    return iter(vanished)


def _in_order(audit: Callable[[PairT], T], pairs: Iterable[PairT]) -> Iterator[T]:
    """Audit by several threads, in order, a bounded number ahead."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        ahead: deque[Future[T]] = deque()
        for pair in pairs:
            ahead.append(pool.submit(audit, pair))
            if len(ahead) >= PAIRS_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _audit(run: LatestRun, info: ObjectInfo | None, row: LedgerRow | None) -> Iterator[Problem]:
    if info is None:
        assert row is not None
        yield Problem(row.key, "no longer in the archive; ganray prune removes its output")
    elif row is None:
        yield Problem(info.key, "pending: the ledger has no row")
    elif row.state == "restored":
        yield from _audit_output(run.store, row)
    if info is not None and row is not None and not run.is_current(info, row):
        yield Problem(info.key, "out of date: the input, generator or configuration changed")


def _audit_output(store: Store, row: LedgerRow) -> Iterator[Problem]:
    try:
        found = store.stat(row.output)
        if found.num_bytes != row.output_bytes:
            yield Problem(
                row.key,
                f"its output has {found.num_bytes} bytes, and {row.output_bytes} were written",
            )
            return
        height, width = _read_parts(store, row) if row.output_parts else _read_whole(store, row)
    except NotFoundError:
        yield Problem(row.key, f"its output {row.output} is missing")
    except DamagedOutputError as error:
        yield Problem(row.key, str(error))
    except CodecError as error:
        yield Problem(row.key, f"its output does not decode: {error}")
    else:
        if height * width != row.output_pixels:
            yield Problem(
                row.key, f"its output is {width}x{height}, not {row.output_pixels} pixels"
            )


def _read_whole(store: Store, row: LedgerRow) -> tuple[int, int]:
    """Check all bytes and all pixels; height and width."""
    content = store.read(row.output)
    _require_digest(hashlib.sha256(content).hexdigest(), row)
    _, height, width = photo.decode(content, max_pixels=NO_LIMIT).pixels.shape
    return height, width


def _read_parts(store: Store, row: LedgerRow) -> tuple[int, int]:
    """Check a large output part by part; height and width, from its header."""
    whole = hashlib.sha256()
    start = 0
    for num_bytes in json.loads(row.output_parts):
        part = hashlib.sha256()
        for begin in range(start, start + num_bytes, CHUNK_BYTES):
            end = min(begin + CHUNK_BYTES, start + num_bytes)
            part.update(store.read(row.output, begin, end))
        whole.update(part.digest())
        start += num_bytes
    _require_digest(whole.hexdigest(), row)
    picture = TiffWindows(store, row.output)
    return picture.height, picture.width


def _require_digest(digest: str, row: LedgerRow) -> None:
    if digest != row.output_sha256:
        raise DamagedOutputError("its output's bytes are not those that were written")


class DamagedOutputError(CodecError):
    """An output whose bytes have another checksum than the ledger's."""
