"""What an evaluation has to measure: every mistake of the configuration shows here.

The archives are listed, not read, and the keys go to a temporary file, so that the driver's
memory does not grow with them.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from ganray import __version__
from ganray.errors import ConfigError, EmptyArchiveError
from ganray.manifest import Selection, list_images, speakable
from ganray.models.checkpoint import Checkpoint, load_checkpoint
from ganray.pipelines.archives import (
    absolute_generator,
    absolute_uri,
    open_archive,
    require_apart,
    resolve_archive,
)
from ganray.pipelines.evaluate_config import EvaluateConfig
from ganray.pipelines.evaluate_metrics import Metrics, require_metrics
from ganray.pipelines.evaluate_orders import EvaluateJob, PairKey
from ganray.pipelines.spool import Spool
from ganray.storage import ObjectInfo

NAMED = 5


@dataclass(frozen=True)
class EvaluatePlan:
    """A checked evaluation: the job, its pairs, and what is known of the generators."""

    job: EvaluateJob
    keys: Spool[PairKey] = field(repr=False)
    metrics: Metrics = field(repr=False)
    training: dict[str, dict[str, Any]] = field(repr=False)
    """Of each generator what its checkpoint says of its making."""


def plan_evaluation(config: EvaluateConfig) -> EvaluatePlan:
    """Read the generators, check the metrics, list the pairs. Raises GanrayError."""
    config = _absolute(config)
    for name in ("archive", "degraded", "reference"):
        if uri := getattr(config, name):
            require_apart(uri, config.output, names=(name, "output"))
    generators = {name: absolute_generator(name, config.registry) for name in config.generators}
    checkpoints = {name: load_checkpoint(uri) for name, uri in generators.items()}
    job = _job(config, generators, checkpoints)
    metrics = require_metrics(config, bands=job.bands)
    job = replace(job, digest=f"{job.digest} {metrics.digest}")
    if not config.degraded:
        config.degradation.require_fit(scale=job.scale, bands=job.bands)
    for name, checkpoint in checkpoints.items():
        if checkpoint.takes_mask and not config.has_masks:
            raise ConfigError(
                f"{name} takes a mask of lost pixels and the pairs have none; choose a degradation "
                "with damage, such as film or inpaint, or leave the generator out"
            )
    keys = _list_pairs(config)
    training = {name: checkpoint.training for name, checkpoint in checkpoints.items()}
    return EvaluatePlan(job, keys, metrics, training)


def _absolute(config: EvaluateConfig) -> EvaluateConfig:
    """The configuration with URIs that every worker understands."""
    sources = ("degraded", "reference") if config.degraded else ("archive",)
    update = {name: resolve_archive(uri) for name in sources if (uri := getattr(config, name))}
    if config.degraded:
        update["archive"] = ""
    places = {name: absolute_uri(getattr(config, name)) for name in ("output", "registry")}
    return config.model_copy(update=update | places)


def _job(
    config: EvaluateConfig, generators: dict[str, str], checkpoints: dict[str, Checkpoint]
) -> EvaluateJob:
    scales = {checkpoint.scale for checkpoint in checkpoints.values()}
    bands = {checkpoint.bands for checkpoint in checkpoints.values()}
    if len(scales) > 1 or len(bands) > 1:
        found = ", ".join(f"{n}: x{c.scale}, {c.bands} bands" for n, c in checkpoints.items())
        raise ConfigError(f"generators of one scale and one band count are compared; found {found}")
    versions = " ".join(checkpoint.digest for checkpoint in checkpoints.values())
    return EvaluateJob(
        config=config,
        generators=generators,
        scale=scales.pop(),
        bands=bands.pop(),
        digest=f"{__version__} {config.value_digest} {versions}",
    )


def _list_pairs(config: EvaluateConfig) -> Spool[PairKey]:
    """The pairs in the order of their keys. Raises EmptyArchiveError if there are none."""
    keys: Spool[PairKey] = Spool()
    if config.reference:
        found = _paired(config)
    else:
        source = config.degraded or config.archive
        found = (PairKey(info.key, info.etag) for info in _listed(source, config))
    for pair in found:
        keys.append(pair)
    if not keys:
        raise EmptyArchiveError(
            f"{config.degraded or config.archive} holds no image that include and exclude select; "
            "check the URI and the globs"
        )
    return keys


def _paired(config: EvaluateConfig) -> Iterator[PairKey]:
    """Keys that both archives hold; a missing partner is an error that names it."""
    sides = [_tagged(config, side) for side in ("degraded", "reference")]
    num_alone = 0
    alone: list[str] = []
    merged = heapq.merge(*sides, key=lambda found: found[0].key)
    for key, group in groupby(merged, key=lambda found: found[0].key):
        infos, tags = zip(*group, strict=True)
        if len(infos) == len(sides):
            yield PairKey(key, " ".join(info.etag for info in infos))
            continue
        num_alone += 1
        if num_alone <= NAMED:
            alone.append(f"{speakable(key)} (only in {tags[0]})")
    if num_alone:
        more = ", …" if num_alone > NAMED else ""
        raise ConfigError(
            f"{num_alone} keys have no partner: {', '.join(alone)}{more}. degraded and reference "
            "are paired by equal keys; use include and exclude to leave keys out"
        )


def _tagged(config: EvaluateConfig, side: str) -> Iterator[tuple[ObjectInfo, str]]:
    return ((info, side) for info in _listed(getattr(config, side), config))


def _listed(uri: str, selection: Selection) -> Iterator[ObjectInfo]:
    return list_images(open_archive(uri), selection)
