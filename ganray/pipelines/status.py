"""Counts and state of a target, and the audit of an archive against it."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from ganray.codecs import photo
from ganray.config import build_config
from ganray.errors import CodecError, NotFoundError, StorageError
from ganray.ledger import Ledger, LedgerRow, Version
from ganray.manifest import list_images
from ganray.pipelines.archives import open_archive
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.summary import (
    CONFIG_NAME,
    EVENTS_NAME,
    SUMMARY_NAME,
    InputCounts,
    Summary,
    latest_run,
    read_run_file,
)
from ganray.storage import ObjectInfo, Store

STAGING_PREFIX = "_ganray/staging/"
READ_THREADS = 8


@dataclass(frozen=True)
class Problem:
    """One thing that is not as the ledger says."""

    key: str
    what: str


@dataclass(frozen=True)
class LedgerEntry:
    """One input and its state; `row` is None while it is pending."""

    key: str
    etag: str
    state: Literal["restored", "failed", "unchanged", "pending"]
    row: LedgerRow | None


def read_status(target: str) -> Summary:
    """The latest run's summary; of a run that was killed, what its ledger shows."""
    store = open_archive(target)
    run_id = _require_run(store, target)
    text = read_run_file(store, run_id, SUMMARY_NAME)
    if text is None:
        return _summarise_ledger(target, run_id)
    values = json.loads(text)
    return Summary(**(values | {"inputs": InputCounts(**values["inputs"])}))


def read_entries(target: str) -> list[LedgerEntry]:
    """One entry per input of the latest run's archive, in the order of keys.

    Without the archive, which may be gone by then, one per row.
    """
    store = open_archive(target)
    run_id = _require_run(store, target)
    config = _run_config(store, run_id)
    rows = Ledger(store).read()
    version = run_generator(store, run_id), config.pixel_digest
    try:
        infos = list(list_images(open_archive(config.source), config))
    except StorageError:
        return [LedgerEntry(row.key, row.etag, row.state, row) for row in rows.values()]
    return [_entry(info, rows.get(info.key), version, run_id) for info in infos]


def _entry(
    info: ObjectInfo, row: LedgerRow | None, version: tuple[str, str], run_id: str
) -> LedgerEntry:
    """The state of one input as the latest run sees it."""
    if row is None or row.version != Version(info.etag, *version):
        return LedgerEntry(info.key, info.etag, "pending", None)
    unchanged = row.state == "restored" and row.run_id != run_id
    return LedgerEntry(info.key, info.etag, "unchanged" if unchanged else row.state, row)


def verify_target(target: str) -> tuple[int, list[Problem]]:
    """Audit the archive of the latest run against `target`: inputs audited, and problems.

    Every input has one state; every restored output exists, has the recorded bytes and
    decodes to the recorded size; nothing is left in staging.
    """
    store = open_archive(target)
    run_id = _require_run(store, target)
    config = _run_config(store, run_id)
    version = run_generator(store, run_id), config.pixel_digest
    rows = Ledger(store).read()
    archive = open_archive(config.source)
    infos = list(list_images(archive, config))
    problems = [Problem(info.key, "left in staging") for info in store.list(STAGING_PREFIX)]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        audits = pool.map(
            lambda info: list(_audit(store, info, rows.get(info.key), version)), infos
        )
        for found in audits:
            problems.extend(found)
    # Rows beside the run's selection are those of an earlier run that selected more.
    beside = sorted(rows.keys() - {info.key for info in infos})
    problems += [
        Problem(key, "no longer in the archive") for key in beside if _is_gone(archive, key)
    ]
    return len(infos), problems


def _is_gone(archive: Store, key: str) -> bool:
    try:
        archive.stat(key)
    except NotFoundError:
        return True
    return False


def _audit(
    store: Store, info: ObjectInfo, row: LedgerRow | None, version: tuple[str, str]
) -> Iterator[Problem]:
    if row is None:
        yield Problem(info.key, "pending: the ledger has no row")
        return
    if row.version != Version(info.etag, *version):
        yield Problem(info.key, "out of date: the input, generator or configuration changed")
    if row.state != "restored":
        return
    try:
        content = store.read(row.output)
    except NotFoundError:
        yield Problem(info.key, f"its output {row.output} is missing")
        return
    if hashlib.sha256(content).hexdigest() != row.output_sha256:
        yield Problem(
            info.key, f"its output has {len(content)} bytes that are not those that were written"
        )
        return
    try:
        _, height, width = photo.probe(content)
    except CodecError as error:
        yield Problem(info.key, f"its output does not decode: {error}")
        return
    if height * width != row.output_pixels:
        yield Problem(info.key, f"its output is {width}x{height}, not {row.output_pixels} pixels")


def _require_run(store: Store, target: str) -> str:
    run_id = latest_run(store)
    if run_id is None:
        raise NotFoundError(
            f"{target} holds no run of ganray restore; expected _ganray/runs/ below it"
        )
    return run_id


def _run_config(store: Store, run_id: str) -> RestoreConfig:
    text = read_run_file(store, run_id, CONFIG_NAME)
    if text is None:
        raise NotFoundError(f"run {run_id} has no {CONFIG_NAME}; it was damaged after the run")
    values: dict[str, Any] = yaml.safe_load(text)
    return build_config(RestoreConfig, values)


def _summarise_ledger(target: str, run_id: str) -> Summary:
    """What a run without a summary has done so far."""
    summary = Summary(run_id)
    for entry in read_entries(target):
        summary.inputs.listed += 1
        counts = summary.inputs
        setattr(counts, entry.state, getattr(counts, entry.state) + 1)
        if entry.row and entry.state in ("restored", "failed"):
            _add(summary, entry.row)
    return summary


def run_generator(store: Store, run_id: str) -> str:
    """The digest of the generator that a run restores with, from its first event."""
    text = read_run_file(store, run_id, EVENTS_NAME) or ""
    try:
        return str(json.loads(text.partition("\n")[0])["generator"])
    except (ValueError, KeyError) as error:
        raise NotFoundError(
            f"run {run_id} has no readable {EVENTS_NAME}; it was damaged"
        ) from error


def _add(summary: Summary, row: LedgerRow) -> None:
    summary.windows += row.num_windows
    summary.input_pixels += row.input_pixels
    summary.output_pixels += row.output_pixels
    summary.worker_seconds += row.seconds
