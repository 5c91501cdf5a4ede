"""What the restore job is told, and the plan that is made of it before anything is written."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from ganray import __version__
from ganray.codecs import catalog
from ganray.codecs.photo import OutputConfig
from ganray.config import Section, digest
from ganray.errors import ConfigError, EmptyArchiveError, NotFoundError
from ganray.ledger import Ledger, LedgerRow, Version
from ganray.manifest import Input, Selection, Unreadable, list_images, probe_all
from ganray.models.checkpoint import Checkpoint, decode_checkpoint, read_checkpoint
from ganray.pipelines.archives import (
    absolute_generator,
    absolute_uri,
    open_archive,
    resolve_archive,
)
from ganray.pipelines.workers import WorkersConfig
from ganray.restoration import RestorerConfig
from ganray.restoration.restorer import Precision
from ganray.storage import PREFLIGHT, ObjectInfo, open_store

ORDER_PIXELS = 2**21
LARGEST_ORDER = 32


class LimitsConfig(Section):
    """What one input may cost."""

    pixels: Annotated[int, Field(gt=0)] = 2**27
    """Pixels of one input; a larger one fails before it is decoded."""


class RestoreConfig(Selection):
    """The restore job: everything has a default that restores the embedded sample."""

    source: str = "sample:"
    """URI or folder of the archive."""
    target: str = "ganray-output/restored"
    """URI or folder of the restored archive; the ledger stands there under _ganray/."""
    generator: str = "compact-x2"
    """File, URI or catalog name of the generator."""
    workers: WorkersConfig = WorkersConfig()
    window_pixels: Annotated[int, Field(gt=0)] = 2048
    """Side of a window in input pixels, rounded to whole patches."""
    precision: Precision = "auto"
    """Of the generator's arithmetic; `auto` is float32."""
    output: OutputConfig = OutputConfig()
    max_failed: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Fraction of the inputs that may fail before the run stops."""
    retry_failed: bool = False
    """Try again the inputs that failed in an earlier run for a lasting reason."""
    limits: LimitsConfig = LimitsConfig()

    @property
    def restorer(self) -> RestorerConfig:
        return RestorerConfig(window_pixels=self.window_pixels, precision=self.precision)

    @property
    def pixel_digest(self) -> str:
        """Changes with whatever changes the outputs; windows and workers do not."""
        return digest(self.output, RestorerConfig(precision=self.precision))


@dataclass(frozen=True)
class WorkOrder:
    """What travels to a worker: some inputs, a few hundred bytes each, and their attempts."""

    inputs: tuple[Input, ...]
    attempts: tuple[int, ...]


@dataclass(frozen=True)
class RestorePlan:
    """A checked restoration: what to do, and what need not be done."""

    config: RestoreConfig
    checkpoint: Checkpoint = field(repr=False)
    checkpoint_bytes: bytes = field(repr=False)
    orders: tuple[WorkOrder, ...]
    unreadable: tuple[Unreadable, ...]
    unchanged: tuple[str, ...]
    failed_before: tuple[LedgerRow, ...]

    @property
    def num_listed(self) -> int:
        done = len(self.unreadable) + len(self.unchanged) + len(self.failed_before)
        return done + self.num_pending

    @property
    def num_pending(self) -> int:
        return sum(len(order.inputs) for order in self.orders)

    def pending(self) -> Iterator[Input]:
        for order in self.orders:
            yield from order.inputs


def plan_restoration(config: RestoreConfig) -> RestorePlan:
    """List, compare with the ledger, probe what is left; nothing is written.

    Raises GanrayError for whatever would make the run useless.
    """
    config = config.model_copy(
        update={
            "source": resolve_archive(config.source),
            "target": absolute_uri(config.target),
            "generator": absolute_generator(config.generator),
        }
    )
    _require_apart(config.source, config.target)
    data = read_checkpoint(config.generator)
    checkpoint = decode_checkpoint(data, config.generator)
    source = open_archive(config.source)
    infos = list(list_images(source, config))
    if not infos:
        raise EmptyArchiveError(
            f"{config.source} holds no image that include and exclude select; check the URI and "
            "the globs"
        )
    ledger = read_ledger(config.target)
    todo, unchanged, failed = _compare(infos, ledger, config, checkpoint.digest)
    probed = list(probe_all(source, iter(todo)))
    inputs = [item for item in probed if isinstance(item, Input)]
    _require_distinct_outputs(inputs, [ledger[key] for key in unchanged], config)
    return RestorePlan(
        config=config,
        checkpoint=checkpoint,
        checkpoint_bytes=data,
        orders=tuple(_group(inputs, ledger)),
        unreadable=tuple(item for item in probed if isinstance(item, Unreadable)),
        unchanged=tuple(unchanged),
        failed_before=tuple(failed),
    )


def read_ledger(target: str) -> dict[str, LedgerRow]:
    """The ledger of a target; empty where there is no folder yet."""
    try:
        return Ledger(open_store(target, retry=PREFLIGHT)).read()
    except NotFoundError:
        if target.startswith("s3://"):
            raise
        return {}


def _require_apart(source: str, target: str) -> None:
    """A target inside its source would be restored again the next night."""
    first, second = (uri.rstrip("/") + "/" for uri in (source, target))
    if first.startswith(second) or second.startswith(first):
        raise ConfigError(
            f"target {target} and source {source} are the same or one lies inside the other; "
            "choose a target apart from the source"
        )


def _compare(
    infos: list[ObjectInfo],
    ledger: dict[str, LedgerRow],
    config: RestoreConfig,
    generator_digest: str,
) -> tuple[list[ObjectInfo], list[str], list[LedgerRow]]:
    """Split listed inputs into those to do, those unchanged, those failed for good."""
    todo: list[ObjectInfo] = []
    unchanged: list[str] = []
    failed: list[LedgerRow] = []
    for info in infos:
        row = ledger.get(info.key)
        version = Version(info.etag, generator_digest, config.pixel_digest)
        if row is None or row.version != version:
            todo.append(info)
        elif row.state == "restored":
            unchanged.append(info.key)
        elif config.retry_failed or _is_worth_a_retry(row, config):
            todo.append(info)
        else:
            failed.append(row)
    return todo, unchanged, failed


def _is_worth_a_retry(row: LedgerRow, config: RestoreConfig) -> bool:
    """A failure of the store, under another limit, or of another version of ganray."""
    other_limit = row.limit_pixels not in (0, config.limits.pixels)
    return row.retry or other_limit or row.ganray_version != __version__


def _require_distinct_outputs(
    inputs: list[Input], done: list[LedgerRow], config: RestoreConfig
) -> None:
    """Two inputs that would become one output are a mistake of the configuration."""
    owner = {row.output: row.key for row in done}
    for item in inputs:
        output = catalog.output_key(item.key, item.codec, config.output.format)
        other = owner.setdefault(output, item.key)
        if other != item.key:
            raise ConfigError(
                f"{other} and {item.key} would both be written to {output}; keep output.format="
                "same or exclude one of them"
            )


def _group(inputs: list[Input], ledger: dict[str, LedgerRow]) -> Iterator[WorkOrder]:
    """Small inputs share an order, so that the cost of an order vanishes among them."""
    group: list[Input] = []
    pixels = 0
    for item in inputs:
        if group and (pixels + item.num_pixels > ORDER_PIXELS or len(group) == LARGEST_ORDER):
            yield _order(group, ledger)
            group, pixels = [], 0
        group.append(item)
        pixels += item.num_pixels
    if group:
        yield _order(group, ledger)


def _order(inputs: list[Input], ledger: dict[str, LedgerRow]) -> WorkOrder:
    attempts = [ledger[item.key].attempts if item.key in ledger else 0 for item in inputs]
    return WorkOrder(tuple(inputs), tuple(attempts))
