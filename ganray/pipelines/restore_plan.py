"""What a restoration has to do: the listing against the ledger, in flat memory."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeVar

from ganray import __version__
from ganray.codecs import catalog
from ganray.codecs.stac import require_pystac
from ganray.errors import ConfigError, EmptyArchiveError, NotFoundError, StorageError
from ganray.ledger import Ledger, LedgerRow, ResumeRow, Version
from ganray.manifest import is_selected, list_images
from ganray.models.checkpoint import (
    Checkpoint,
    ReadingConfig,
    decode_checkpoint,
    read_checkpoint,
)
from ganray.pipelines.archives import (
    absolute_generator,
    absolute_uri,
    open_archive,
    require_apart,
    resolve_archive,
)
from ganray.pipelines.masks import require_masks, with_masks
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_orders import ImageOrder, Pending
from ganray.pipelines.spool import Spool
from ganray.storage import PREFLIGHT, ObjectInfo, Store, open_store

RowT = TypeVar("RowT", ResumeRow, LedgerRow)

NOT_UTF8 = "its name is not UTF-8, which the ledger and object stores need; rename it"
SAMPLE_INPUTS = 16
SHOWN_VANISHED = 20
LARGEST_ORDER = 256
LARGEST_ORDER_BYTES = 2**28
ORDERS_PER_WORKER = 8


@dataclass(frozen=True)
class Preparation:
    """A configuration that was checked against the world: its URIs are absolute.

    `asked` is the generator as it was asked for: `registry:NAME` may mean another one tomorrow.
    """

    config: RestoreConfig
    asked: str
    checkpoint: Checkpoint = field(repr=False)
    checkpoint_bytes: bytes = field(repr=False)


@dataclass
class RestorePlan:
    """What is to be done, and what need not be. Memory does not grow with the archive.

    `num_films` and `film_bytes` are of what is pending.
    """

    preparation: Preparation
    pending: Spool[Pending] = field(default_factory=Spool, repr=False)
    unusable: Spool[tuple[Pending, str]] = field(default_factory=Spool, repr=False)
    failed_before: Spool[ResumeRow] = field(default_factory=Spool, repr=False)
    num_unchanged: int = 0
    num_vanished: int = 0
    vanished: list[str] = field(default_factory=list)
    pending_bytes: int = 0
    num_films: int = 0
    film_bytes: int = 0
    by_suffix: Counter[tuple[str, str]] = field(default_factory=Counter)
    sample: list[Pending] = field(default_factory=list)

    @property
    def config(self) -> RestoreConfig:
        return self.preparation.config

    @property
    def num_listed(self) -> int:
        return self.num_unchanged + len(self.failed_before) + self.num_todo

    @property
    def num_todo(self) -> int:
        """Inputs that this run brings to an end."""
        return len(self.pending) + len(self.unusable)

    def orders(self, num_workers: int, *, skip: set[str]) -> Iterator[ImageOrder]:
        """The pending inputs in groups: small enough to spread, large enough that the cost of an
        order vanishes among them. Those in `skip` are taken care of."""
        share = len(self.pending) // (max(1, num_workers) * ORDERS_PER_WORKER)
        size = max(1, min(share, LARGEST_ORDER))
        pending = (item for item in self.pending if item.key not in skip)
        for number, items in enumerate(_groups(pending, size)):
            yield ImageOrder(f"{number:07d}", items)


def prepare(config: RestoreConfig) -> Preparation:
    """Check what can be checked before anything is listed or written. Raises GanrayError."""
    asked = config.generator
    config = config.model_copy(
        update={
            "source": resolve_archive(config.source),
            "target": absolute_uri(config.target),
            "masks": config.masks and absolute_uri(config.masks),
            "generator": absolute_generator(config.generator, config.registry),
            "registry": absolute_uri(config.registry),
            "reading": _absolute_reading(config.reading, config.registry),
        }
    )
    require_apart(config.source, config.target, names=("source", "target"))
    if config.geo.stac:
        require_pystac()
    data = read_checkpoint(config.generator, config.reading)
    checkpoint = decode_checkpoint(data, config.generator)
    require_masks(config, takes_mask=checkpoint.takes_mask)
    if next(list_images(open_archive(config.source), config), None) is None:
        raise EmptyArchiveError(
            f"{config.source} holds no image that include and exclude select; check the URI and "
            "the globs"
        )
    _require_target(config.target)
    return Preparation(config, asked, checkpoint, data)


def plan_restoration(preparation: Preparation) -> RestorePlan:
    """List, compare with the ledger; nothing is written. Raises GanrayError."""
    plan = RestorePlan(preparation)
    config = preparation.config
    rng = random.Random(0)  # noqa: S311 which inputs are measured is no secret
    outputs = _Outputs(config)
    target = open_store(config.target)
    infos = with_masks(list_images(open_archive(config.source), config), config.masks)
    for info, row in join(infos, read_ledger(config.target)):
        if info is None:
            assert row is not None
            # A name that is not UTF-8 stands escaped in the ledger, and is listed otherwise.
            if is_selected(row.key, config) and row.reason != NOT_UTF8:
                plan.num_vanished += 1
                plan.vanished += [row.key] if len(plan.vanished) < SHOWN_VANISHED else []
            continue
        outputs.add(info.key)
        state = _add(plan, info, row, unusable_reason(info.key, target))
        plan.by_suffix[state, PurePosixPath(info.key).suffix.lower()] += 1
        if state == "pending":
            _sample(plan.sample, len(plan.pending), plan, info, rng)
    return plan


def join(
    infos: Iterable[ObjectInfo], rows: Iterable[RowT]
) -> Iterator[tuple[ObjectInfo | None, RowT | None]]:
    """Pair a listing with the ledger's rows; both are in the order of keys."""
    remaining = iter(rows)
    row = next(remaining, None)
    for info in infos:
        while row is not None and row.key < info.key:
            yield None, row
            row = next(remaining, None)
        if row is not None and row.key == info.key:
            yield info, row
            row = next(remaining, None)
        else:
            yield info, None
    while row is not None:
        yield None, row
        row = next(remaining, None)


def read_ledger(target: str) -> Iterator[ResumeRow]:
    """What the ledger of a target knows; nothing where there is no folder yet."""
    try:
        rows = Ledger(open_store(target)).scan_for_resume()
        yield from (row for row in rows if row.state != "pruned")
    except NotFoundError:
        if target.startswith("s3://"):
            raise


def _add(plan: RestorePlan, info: ObjectInfo, row: ResumeRow | None, reason: str) -> str:
    """Put one listed input where it belongs; `reason` says why it cannot be restored at all."""
    config = plan.config
    version = Version(info.etag, plan.preparation.checkpoint.digest, config.pixel_digest)
    item = Pending(info.key, info.etag, info.num_bytes, row.attempts if row else 0)
    if reason:
        plan.unusable.append((item, reason))
        return "failed"
    if row is not None and row.version == version:
        if row.state == "restored":
            plan.num_unchanged += 1
            return "unchanged"
        if not config.retry_failed and not _is_worth_a_retry(row, config):
            plan.failed_before.append(row)
            return "failed"
    plan.pending.append(item)
    plan.pending_bytes += info.num_bytes
    if catalog.is_video(info.key):
        plan.num_films += 1
        plan.film_bytes += info.num_bytes
    return "pending"


def unusable_reason(key: str, target: Store) -> str:
    """Why neither this machine's ledger nor the target can hold a key; empty if they can."""
    try:
        key.encode()
        target.require_key(key)
    except UnicodeEncodeError:
        return NOT_UTF8
    except StorageError as error:
        return str(error)
    return ""


def _is_worth_a_retry(row: ResumeRow, config: RestoreConfig) -> bool:
    """A failure of the store, under other limits, or of another version of ganray."""
    other_limits = row.limits_digest not in ("", config.limits_digest)
    return row.retry or other_limits or row.ganray_version != __version__


def _sample(
    sample: list[Pending], number: int, plan: RestorePlan, info: ObjectInfo, rng: random.Random
) -> None:
    """Keep a uniform sample of what is pending, whose number is not known beforehand."""
    item = Pending(info.key, info.etag, info.num_bytes)
    if len(sample) < SAMPLE_INPUTS:
        sample.append(item)
    elif (place := rng.randrange(number)) < SAMPLE_INPUTS:
        sample[place] = item


class _Outputs:
    """Refuses two inputs that would become one output, which is a mistake of the configuration."""

    def __init__(self, config: RestoreConfig) -> None:
        self._config = config
        self._codecs = config.codecs
        self._renames = catalog.renames(self._codecs)
        # Hashes, since a million names would take most of the driver's memory.
        self._seen: set[int] = set()

    def add(self, key: str) -> None:
        output = catalog.output_key(key, self._codecs)
        if catalog.suffix_of(output) not in self._renames:
            return
        if hash(output) in self._seen:
            other = self._find(output, before=key)
            if other is not None:
                raise ConfigError(
                    f"{other} and {key} would both be written to {output}; exclude one of them, or "
                    "choose another output.format"
                )
        self._seen.add(hash(output))

    def _find(self, output: str, *, before: str) -> str | None:
        for info in list_images(open_store(self._config.source), self._config):
            if info.key >= before:
                return None
            if catalog.output_key(info.key, self._codecs) == output:
                return info.key
        return None


def _groups(pending: Iterable[Pending], size: int) -> Iterator[tuple[Pending, ...]]:
    group: list[Pending] = []
    num_bytes = 0
    for item in pending:
        if group and (len(group) == size or num_bytes + item.num_bytes > LARGEST_ORDER_BYTES):
            yield tuple(group)
            group, num_bytes = [], 0
        group.append(item)
        num_bytes += item.num_bytes
    if group:
        yield tuple(group)


def _absolute_reading(reading: ReadingConfig, registry: str) -> ReadingConfig:
    if not reading.blend:
        return reading
    return reading.model_copy(update={"blend": absolute_generator(reading.blend, registry)})


def _require_target(target: str) -> None:
    """A target that cannot be reached is an error before anything is listed."""
    try:
        next(iter(open_store(target, retry=PREFLIGHT).list("_ganray/ledger/")), None)
    except NotFoundError:
        if target.startswith("s3://"):
            raise
