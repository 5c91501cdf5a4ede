"""Counts and states of a target, from its latest run and its ledger."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import yaml

from ganray.claim import claiming_runs
from ganray.config import build_config
from ganray.errors import NotFoundError, StorageError
from ganray.ledger import Ledger, LedgerRow, Version
from ganray.manifest import is_selected, list_images, speakable
from ganray.pipelines.archives import open_archive
from ganray.pipelines.masks import with_masks
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_plan import join
from ganray.pipelines.runs import RunState, state_at_end, state_without_end
from ganray.pipelines.spool import Spool
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

EntryState = Literal["restored", "failed", "pruned", "unchanged", "pending", "vanished"]

ESCAPED = r"\udc"
"""What `speakable` makes of every byte of a key that is not UTF-8."""


@dataclass(frozen=True)
class LedgerEntry:
    """One input and its state; `row` is None while it is pending."""

    key: str
    etag: str
    state: EntryState
    row: LedgerRow | None


@dataclass(frozen=True)
class Status:
    """What the latest run of a target came to, or has come to so far."""

    summary: Summary
    state: RunState

    def as_dict(self) -> dict[str, Any]:
        return self.summary.as_dict() | {"state": self.state}


@dataclass(frozen=True)
class LatestRun:
    """The latest run of a target, with what its inputs must have been restored by."""

    store: Store
    run_id: str
    config: RestoreConfig
    generator_digest: str

    def is_current(self, info: ObjectInfo, row: LedgerRow) -> bool:
        """Whether a row is about this version of the input, by this generator and config."""
        expected = Version(info.etag, self.generator_digest, self.config.pixel_digest)
        return row.version == expected

    def joined(self, archive: Store) -> Iterator[tuple[ObjectInfo | None, LedgerRow | None]]:
        """Each selected input with its row; rows without an input are those that vanished.

        Rows beside the run's selection are those of an earlier run that selected more. Keys that
        are not UTF-8 come last, escaped as the ledger has them: only they are held in memory.
        """
        unspeakable: dict[str, ObjectInfo] = {}
        escaped: Spool[LedgerRow] = Spool()
        listed = with_masks(list_images(archive, self.config), self.config.masks)
        infos = _speakable_infos(listed, unspeakable)
        rows = (row for row in Ledger(self.store).scan() if row.state != "pruned")
        for info, row in join(infos, rows):
            if info is None and row is not None and ESCAPED in row.key:
                escaped.append(row)
            elif info is not None or (row is not None and is_selected(row.key, self.config)):
                yield info, row
        for row in escaped:
            info = unspeakable.pop(row.key, None)
            if info is not None or is_selected(row.key, self.config):
                yield info, row
        yield from ((info, None) for info in unspeakable.values())


def _speakable_infos(
    infos: Iterable[ObjectInfo], unspeakable: dict[str, ObjectInfo]
) -> Iterator[ObjectInfo]:
    """The inputs in their order; those whose keys are not UTF-8 are put aside."""
    for info in infos:
        key = speakable(info.key)
        if key == info.key:
            yield info
        else:
            unspeakable[key] = replace(info, key=key)


def open_latest_run(target: str) -> LatestRun:
    """The latest run of a target; NotFoundError if there is none, or if it is damaged."""
    store = open_archive(target)
    run_id = latest_run(store)
    if run_id is None:
        raise NotFoundError(
            f"{target} holds no run of ganray restore; expected _ganray/runs/ below it"
        )
    text = read_run_file(store, run_id, CONFIG_NAME)
    if text is None:
        raise NotFoundError(f"run {run_id} has no {CONFIG_NAME}; it was damaged after the run")
    values: dict[str, Any] = yaml.safe_load(text)
    config = build_config(RestoreConfig, values)
    return LatestRun(store, run_id, config, _generator_digest(store, run_id))


def read_status(target: str) -> Status:
    """The latest run's summary and state; of a run that has none, what its ledger shows."""
    run = open_latest_run(target)
    text = read_run_file(run.store, run.run_id, SUMMARY_NAME)
    if text is None:
        state = state_without_end(run.run_id, claiming_runs(run.store))
        return Status(_summarise_ledger(run), state)
    values = json.loads(text)
    summary = Summary(**(values | {"inputs": InputCounts(**values["inputs"])}))
    return Status(summary, state_at_end(summary.inputs, summary.stopped))


def read_entries(target: str) -> Iterator[LedgerEntry]:
    """One entry per input of the latest run's archive, in the order of keys, in flat memory.

    Keys that are not UTF-8 come last. Without the archive, which may be gone by then, one per row.
    """
    return entries_of(open_latest_run(target))


def entries_of(run: LatestRun) -> Iterator[LedgerEntry]:
    """`read_entries` of a run that is open."""
    try:
        archive = open_archive(run.config.source)
    except StorageError:
        for kept in Ledger(run.store).scan():
            yield LedgerEntry(kept.key, kept.etag, kept.state, kept)
        return
    for info, row in run.joined(archive):
        if info is not None:
            yield _entry(info, row, run)
        elif row is not None:
            yield LedgerEntry(row.key, row.etag, "vanished", row)


def _entry(info: ObjectInfo, row: LedgerRow | None, run: LatestRun) -> LedgerEntry:
    """The state of one input as the latest run sees it."""
    if row is None or not run.is_current(info, row):
        return LedgerEntry(info.key, info.etag, "pending", None)
    unchanged = row.state == "restored" and row.run_id != run.run_id
    return LedgerEntry(info.key, info.etag, "unchanged" if unchanged else row.state, row)


def _summarise_ledger(run: LatestRun) -> Summary:
    """What a run without a summary has done so far; its times are not known."""
    summary = Summary(run.run_id)
    for entry in entries_of(run):
        if entry.state == "vanished":
            summary.vanished += 1
            continue
        if entry.state == "pruned":
            continue
        summary.inputs.listed += 1
        counts = summary.inputs
        setattr(counts, entry.state, getattr(counts, entry.state) + 1)
        if entry.row and entry.state in ("restored", "failed"):
            _add(summary, entry.row)
    return summary


def _generator_digest(store: Store, run_id: str) -> str:
    """The digest of the generator that a run restores with, from its first event."""
    text = read_run_file(store, run_id, EVENTS_NAME) or ""
    try:
        return str(json.loads(text.partition("\n")[0])["generator"])
    except (ValueError, KeyError) as error:
        raise NotFoundError(
            f"run {run_id} has no readable {EVENTS_NAME}; it was damaged"
        ) from error


def _add(summary: Summary, row: LedgerRow) -> None:
    summary.flagged += bool(row.flags)
    summary.windows += row.num_windows
    summary.input_pixels += row.input_pixels
    summary.output_pixels += row.output_pixels
