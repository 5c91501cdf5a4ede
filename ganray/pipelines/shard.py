"""The shard job: an archive is cut once into encoded sub-images, for trainings of many epochs.

Every worker reads some images, cuts them and writes one Parquet file; the index follows when all
are written. An image that cannot be read is left out by name.
"""

import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ganray.claim import Claim, claimed
from ganray.config import digest
from ganray.errors import (
    CodecError,
    NotFoundError,
    RunFailedError,
    TrainingError,
    UndecodableError,
)
from ganray.manifest import Input
from ganray.pipelines.archives import (
    Refused,
    absolute_uri,
    require_apart,
    resolve_archive,
    split_readable,
)
from ganray.pipelines.pool import WorkerContext, run_pool
from ganray.pipelines.shard_config import ShardConfig
from ganray.pipelines.train_images import depth_of, hold_out, require_few
from ganray.pipelines.workers import WorkersConfig
from ganray.storage import Store, open_store
from ganray.training.references import DEPTHS, Reading, load_reference
from ganray.training.samples import MISSING_SHARE
from ganray.training.shards import (
    INDEX_KEY,
    VALIDATION_FOLDER,
    Shard,
    ShardIndex,
    SubImage,
    cut_boxes,
    encode_shard,
    read_index,
    write_index,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardOrder:
    """The images of one shard."""

    number: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class ShardJob:
    """What every worker is given once."""

    config: ShardConfig
    dtype: str


@dataclass(frozen=True)
class ShardDone:
    """One shard that was written, None if no image of it could be used; `failed` are the others."""

    number: int
    shard: Shard | None
    num_images: int
    bands: tuple[int, ...]
    smallest_pixels: int
    failed: tuple[Refused, ...]


@dataclass(frozen=True)
class ShardPlan:
    """What is to be cut, and what was left out by its header."""

    job: ShardJob
    orders: tuple[ShardOrder, ...]
    validation: tuple[str, ...]
    refused: tuple[Refused, ...]
    made_of: str

    @property
    def num_images(self) -> int:
        return sum(len(order.keys) for order in self.orders)


@dataclass(frozen=True)
class ShardResult:
    """The index, where it stands, what was left out, and whether it stood there before."""

    index: ShardIndex
    output: str
    left_out: tuple[Refused, ...]
    already_there: bool = False


class ShardWorker:
    """Cuts the images of one shard after another."""

    def __init__(self, job: ShardJob, context: WorkerContext) -> None:
        self.job = job
        self.archive = open_store(job.config.archive)
        self.output = open_store(job.config.output)

    def run(self, order: ShardOrder) -> Iterator[ShardDone]:
        """Cut the images of an order and write them; the same order makes the same bytes."""
        rows: list[SubImage] = []
        failed: list[Refused] = []
        for key in order.keys:
            try:
                cut = list(self._cut(key))
            except (CodecError, NotFoundError) as error:
                failed.append(Refused(key, str(error)))
                continue
            if not cut:
                failed.append(Refused(key, "no part of it has values; check geo.* and nodata"))
            rows += cut
        shard = self._write(f"shard-{order.number:06d}.parquet", rows) if rows else None
        sides = [side for row in rows for side in row.pixels.shape[1:]]
        yield ShardDone(
            number=order.number,
            shard=shard,
            num_images=len({row.key for row in rows}),
            bands=tuple(sorted({row.pixels.shape[0] for row in rows})),
            smallest_pixels=min(sides, default=0),
            failed=tuple(failed),
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _cut(self, key: str) -> Iterator[SubImage]:
        """The sub-images of one image, without those that have too few values."""
        config = self.job.config
        found = load_reference(self.archive, key, Reading(0, self.job.dtype, config.codecs))
        _, height, width = found.pixels.shape
        for box in cut_boxes(height, width, config.side_pixels, config.overlap_pixels):
            if found.missing_share(box) <= MISSING_SHARE:
                yield SubImage(key, box.top, box.left, found.patch(box))

    def _write(self, key: str, rows: Sequence[SubImage]) -> Shard:
        data = encode_shard(rows)
        self.output.write(key, data)
        return Shard(key, len(rows), len(data), hashlib.sha256(data).hexdigest())


def plan_shards(config: ShardConfig) -> ShardPlan:
    """Read the archive's headers; every mistake shows here. Raises GanrayError."""
    update = {"archive": resolve_archive(config.archive), "output": absolute_uri(config.output)}
    config = config.model_copy(update=update)
    require_apart(config.archive, config.output, names=("archive", "output"))
    found, refused = split_readable(
        config.archive,
        config.selection,
        smallest_side=config.smallest_pixels,
        codecs=config.codecs,
    )
    require_few(refused, len(found), config.archive, config.max_failed)
    keys = [item.key for item in found]
    held_out = set(hold_out(keys, config.num_validation_images))
    learnt = [item for place, item in enumerate(found) if place not in held_out]
    dtype = max((depth_of(item) for item in learnt), key=DEPTHS.index)
    return ShardPlan(
        job=ShardJob(config, dtype),
        orders=tuple(_orders(learnt, dtype, config.shard_bytes)),
        validation=tuple(keys[place] for place in sorted(held_out)),
        refused=tuple(refused),
        made_of=_made_of(config, found),
    )


def run_sharding(plan: ShardPlan, report: Callable[[ShardDone, int], None]) -> ShardResult:
    """Cut all images; `report` gets each shard with their number. Raises GanrayError.

    Shards that stand at the output and are made of the same images are left as they are; those
    whose index is damaged are cut again.
    """
    config, output = plan.job.config, open_store(plan.job.config.output)
    with claimed(output, f"shard-{secrets.token_hex(8)}") as claim:
        earlier = _earlier_index(output)
        if earlier is not None and earlier.made_of == plan.made_of:
            return ShardResult(earlier, config.output, plan.refused, already_there=True)
        # Without an index they are no shards to a training: it goes first and comes back last.
        output.delete(INDEX_KEY)
        done: list[ShardDone] = []
        for item in run_pool(ShardWorker, plan.job, plan.orders, config.workers):
            _require_claim(claim, config.output)
            done.append(item)
            report(item, len(plan.orders))
        done.sort(key=lambda item: item.number)
        return _finish(plan, done, output, claim)


def _earlier_index(output: Store) -> ShardIndex | None:
    """What an earlier cutting left; None if that is damaged, since it is what replaces it."""
    try:
        return read_index(output)
    except UndecodableError as error:
        _log.warning("event=damaged_index output=%r cause=%r", output.uri, str(error))
        return None


def _require_claim(claim: Claim, uri: str) -> None:
    if claim.lost:
        raise RunFailedError(
            f"the claim on {uri} is lost, since the store did not answer or another run is there; "
            "run the same command again"
        )


def _finish(plan: ShardPlan, done: Sequence[ShardDone], output: Store, claim: Claim) -> ShardResult:
    """Copy what is validated on and write the index, if enough images were cut."""
    config = plan.job.config
    failed = (*plan.refused, *(refused for item in done for refused in item.failed))
    require_few(failed, sum(item.num_images for item in done), config.archive, config.max_failed)
    index = _index(plan, done)
    archive = open_store(config.archive)
    for key in plan.validation:
        output.write(f"{VALIDATION_FOLDER}/{key}", archive.read(key))
    _require_claim(claim, config.output)
    _remove_others(output, index)
    write_index(output, index)
    return ShardResult(index, config.output, failed)


def _index(plan: ShardPlan, done: Sequence[ShardDone]) -> ShardIndex:
    shards = tuple(item.shard for item in done if item.shard is not None)
    if not shards:
        raise TrainingError(
            f"no image of {plan.job.config.archive} has a part with values; check geo.* and nodata"
        )
    return ShardIndex(
        archive=plan.job.config.archive,
        made_of=plan.made_of,
        num_images=sum(item.num_images for item in done),
        dtype=plan.job.dtype,
        bands=tuple(sorted({bands for item in done for bands in item.bands})),
        smallest_pixels=min(item.smallest_pixels for item in done if item.shard),
        shards=shards,
        validation=plan.validation,
        codecs=plan.job.config.codecs,
    )


def _remove_others(output: Store, index: ShardIndex) -> None:
    """Remove the shards of an earlier cutting that had more of them."""
    kept = {shard.key for shard in index.shards}
    for info in list(output.list("shard-")):
        if info.key not in kept:
            output.delete(info.key)


def _orders(inputs: Sequence[Input], dtype: str, shard_bytes: int) -> Iterator[ShardOrder]:
    """Consecutive images until they fill a shard."""
    sizes = [i.num_pixels * i.num_colours * np.dtype(dtype).itemsize for i in inputs]
    shards = (np.cumsum(sizes) - sizes) // shard_bytes
    starts = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(inputs)]
    for number, (begin, end) in enumerate(pairwise(starts)):
        yield ShardOrder(number, tuple(item.key for item in inputs[begin:end]))


def _made_of(config: ShardConfig, inputs: Sequence[Input]) -> str:
    """Changes with the images, their versions, and all settings that change the shards."""
    settings = config.model_copy(
        update={"output": "", "workers": WorkersConfig(), "max_failed": 0.0}
    )
    versions = [[item.key, item.etag] for item in inputs]
    content = json.dumps([digest(settings), versions])
    return hashlib.sha256(content.encode()).hexdigest()
