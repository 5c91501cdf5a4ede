"""The audit of an archive against a target: every input, every output, byte by byte."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from threading import Lock

from ganray.claim import claimed
from ganray.codecs import catalog
from ganray.codecs.catalog import is_tiff, is_video
from ganray.codecs.files import decode_file
from ganray.codecs.geo import describe_geo, is_geo, read_raster
from ganray.codecs.tiff_windows import TiffWindows
from ganray.errors import (
    CheckpointError,
    CodecError,
    NotFoundError,
    RunFailedError,
    StorageError,
    TooLargeError,
    UnreachableError,
    UnsupportedImageError,
)
from ganray.ledger import Ledger, LedgerRow
from ganray.manifest import Input, probe_input
from ganray.models.checkpoint import decode_checkpoint
from ganray.pipelines.ahead import in_order
from ganray.pipelines.archives import open_archive
from ganray.pipelines.film_audit import Shape, input_shape, output_shape
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_orders import STAGING_PREFIX
from ganray.pipelines.restore_plan import unusable_reason
from ganray.pipelines.status import LatestRun, open_latest_run
from ganray.storage import ObjectInfo, Store, open_store

NO_LIMIT = 2**63
CHUNK_BYTES = 2**23
LARGE_PIXELS = 2**25
"""Outputs of more pixels are decoded one at a time: several would not fit into memory."""
LARGE_TIFF_BYTES = 2**20
"""The header of a larger TIFF is read by ranges: it may stand at the file's end."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as the ledger says. `row` is that of an output that has to be made
    again."""

    key: str
    what: str
    row: LedgerRow | None = field(default=None, repr=False)


@dataclass
class Audit:
    """What an audit has seen so far; `num_without` inputs failed and have no output."""

    num_inputs: int = 0
    num_problems: int = 0
    num_without: int = 0


@dataclass(frozen=True)
class _Witness:
    """What the outputs of a run are compared with; `scale` is 0 where its generator is damaged."""

    run: LatestRun
    archive: Store
    scale: int
    large: Lock = field(default_factory=Lock)

    def turn(self, num_pixels: int) -> AbstractContextManager[object]:
        """Wait until an output of this size may be decoded."""
        return self.large if num_pixels > LARGE_PIXELS else nullcontext()


def verify_target(target: str, audit: Audit) -> Iterator[Problem]:
    """Audit the archive of the latest run against `target`, in flat memory.

    Every input has one state; every restored output exists, has the recorded bytes, decodes, and
    has its input's sides times the generator's scale; no output of an earlier version is left of
    an input that failed; nothing is left in staging. Raises RunFailedError if memory does not do.
    """
    run = open_latest_run(target)
    archive = open_archive(run.config.source)
    for info in run.store.list(STAGING_PREFIX):
        audit.num_problems += 1
        yield Problem(info.key, "left in staging")
    scale = 0
    # As `RestoreJob.generator_key` names it.
    generator_key = f"_ganray/generators/{run.generator_digest}.safetensors"
    try:
        scale = _read_scale(run, generator_key)
    except (CheckpointError, NotFoundError) as error:
        audit.num_problems += 1
        yield Problem(generator_key, f"no size is compared with its input's: {error}")
    witness = _Witness(run, archive, scale)
    for failed, problems in in_order(lambda pair: _audit_pair(witness, *pair), run.joined(archive)):
        audit.num_inputs += 1
        audit.num_without += failed
        audit.num_problems += len(problems)
        yield from problems


def repair_target(target: str, audit: Audit) -> Iterator[Problem]:
    """`verify_target`, after which outputs that are missing or damaged count as failed: the next
    run makes them again. Raises ClaimedError while a run is at work."""
    store = open_store(target)
    name = f"repaired-{time.time_ns():x}"
    with claimed(store, name):
        rows = []
        for problem in verify_target(target, audit):
            if problem.row is not None:
                failed = replace(problem.row, state="failed", reason=problem.what, retry=True)
                rows.append(replace(failed, recorded_at=time.time()))
            yield problem
        if rows:
            Ledger(store).record(rows, name)


def _audit_pair(
    witness: _Witness, info: ObjectInfo | None, row: LedgerRow | None
) -> tuple[bool, list[Problem]]:
    """Whether an input has failed, and what is wrong with it."""
    return row is not None and row.state == "failed", list(_audit(witness, info, row))


def _read_scale(run: LatestRun, generator_key: str) -> int:
    checkpoint = decode_checkpoint(run.store.read(generator_key), generator_key)
    if checkpoint.digest != run.generator_digest:
        raise CheckpointError(
            f"{generator_key} holds the generator {checkpoint.digest}; restore the file, or run "
            "ganray restore again"
        )
    return checkpoint.scale


def _audit(witness: _Witness, info: ObjectInfo | None, row: LedgerRow | None) -> Iterator[Problem]:
    if info is None:
        assert row is not None
        yield Problem(row.key, "no longer in the archive; ganray prune removes its output")
    elif row is None:
        yield Problem(info.key, "pending: the ledger has no row")
    else:
        if row.state == "restored":
            for problem in _audit_output(witness, info, row):
                yield replace(problem, row=row)
        else:
            yield from _audit_failed(witness.run, info)
        if not witness.run.is_current(info, row):
            yield Problem(info.key, "out of date: the input, generator or configuration changed")


def _audit_failed(run: LatestRun, info: ObjectInfo) -> Iterator[Problem]:
    output = catalog.output_key(info.key, run.config.codecs)
    if unusable_reason(output, run.store):
        return
    try:
        run.store.stat(output)
    except NotFoundError:
        return
    yield Problem(
        info.key,
        "an output of an earlier version is still there; remove it or restore the input",
    )


def _audit_output(witness: _Witness, info: ObjectInfo, row: LedgerRow) -> Iterator[Problem]:
    store = witness.run.store
    try:
        found = store.stat(row.output)
        if found.num_bytes != row.output_bytes:
            yield Problem(
                row.key,
                f"its output has {found.num_bytes} bytes, and {row.output_bytes} were written",
            )
            return
        # Parts are read in small pieces and wait for nobody.
        with witness.turn(0 if row.output_parts else row.output_pixels):
            shape = _read_output(witness, row)
        yield from _compare(witness, info, row, shape)
    except NotFoundError:
        yield Problem(row.key, f"its output {row.output} is missing")
    except DamagedOutputError as error:
        yield Problem(row.key, str(error))
    except (MemoryError, TooLargeError) as error:
        # No limit is set, so that a codec finds an image too large only for want of memory.
        raise RunFailedError(
            f"{row.output}: its {row.output_pixels} pixels do not fit into memory, which says "
            "nothing about the output; run ganray verify where more memory is free"
        ) from error
    except CodecError as error:
        yield Problem(row.key, f"its output does not decode: {error}")


def _compare(
    witness: _Witness, info: ObjectInfo, row: LedgerRow, shape: Shape
) -> Iterator[Problem]:
    if shape.num_pixels != row.output_pixels:
        yield Problem(row.key, f"its output is {shape}, not {row.output_pixels} pixels")
        return
    # Of an input that has changed since, the output need not have the size.
    is_comparable = witness.scale and witness.run.is_current(info, row)
    source = _input_shape(witness, info) if is_comparable else None
    if source and shape != source.scale(witness.scale):
        yield Problem(
            row.key,
            f"its output is {shape}, and its input of {source} times {witness.scale} is another "
            "size",
        )


def _input_shape(witness: _Witness, info: ObjectInfo) -> Shape | None:
    """The size of an input, from its header; None if that cannot be read."""
    archive = witness.archive
    try:
        if is_video(info.key):
            return input_shape(archive, info.key, witness.run.config.video)
        if _is_large_photo(archive, info):
            picture = TiffWindows(archive, info.key)
            return Shape(picture.height, picture.width)
    except UnreachableError:
        raise
    except UnsupportedImageError:
        # It was restored whole, by what probes it below.
        pass
    except (CodecError, StorageError):
        return None
    found = probe_input(archive, info, witness.run.config.codecs)
    return Shape(found.height, found.width) if isinstance(found, Input) else None


def _is_large_photo(archive: Store, info: ObjectInfo) -> bool:
    is_large = is_tiff(info.key) and info.num_bytes > LARGE_TIFF_BYTES
    return is_large and not is_geo(archive, info.key)


def _read_output(witness: _Witness, row: LedgerRow) -> Shape:
    if row.output_parts:
        return _read_parts(witness.run.store, row, witness.run.config)
    return _read_whole(witness, row)


def _read_whole(witness: _Witness, row: LedgerRow) -> Shape:
    """Check all bytes and all pixels."""
    store, codecs = witness.run.store, witness.run.config.codecs
    content = store.read(row.output)
    _require_digest(hashlib.sha256(content).hexdigest(), row)
    if is_tiff(row.output) and is_geo(store, row.output):
        image = read_raster(store.uri, row.output, codecs.geo, max_pixels=NO_LIMIT)
    else:
        image = decode_file(row.output, content, codecs, max_pixels=NO_LIMIT)
    _, height, width = image.pixels.shape
    return Shape(height, width)


def _read_parts(store: Store, row: LedgerRow, config: RestoreConfig) -> Shape:
    """Check a large output part by part; its size is that of its header, or of its packets."""
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
    if is_video(row.output):
        return output_shape(store, row.output, config.video)
    if is_geo(store, row.output):
        _, height, width = describe_geo(store.uri, row.output, config.geo)
        return Shape(height, width)
    picture = TiffWindows(store, row.output)
    return Shape(picture.height, picture.width)


def _require_digest(digest: str, row: LedgerRow) -> None:
    if digest != row.output_sha256:
        raise DamagedOutputError("its output's bytes are not those that were written")


class DamagedOutputError(CodecError):
    """An output whose bytes have another checksum than the ledger's."""
