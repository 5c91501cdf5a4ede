"""The evaluate job: pairs → each generator and bicubic → metrics, image by image.

Every generator goes through the Restorer that restores archives. The baseline `bicubic` is
always measured on the same pairs.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator

from ganray.config import to_yaml
from ganray.degradation.recipe import RecipeField
from ganray.errors import CodecError, ConfigError, EmptyArchiveError, RestorationError
from ganray.evaluation.metrics import METRICS
from ganray.manifest import Globs, Selection
from ganray.models.checkpoint import load_checkpoint
from ganray.pipelines.archives import (
    Refused,
    absolute_generator,
    resolve_archive,
    split_readable,
)
from ganray.pipelines.pairs import (
    Pair,
    measure_bicubic,
    measure_restorer,
    read_pair,
    synthesise_pair,
)
from ganray.pipelines.pool import WorkerContext, run_pool
from ganray.pipelines.workers import WorkersConfig
from ganray.restoration import Restorer
from ganray.storage import open_store

BICUBIC = "bicubic"
# A window of SSIM, beside the crop.
SMALLEST_SIDE = 11
MetricName = Literal["psnr_y", "psnr_rgb", "ssim_y", "ms_ssim"]
Values = dict[str, float | None]


class EvaluateConfig(Selection):
    """The evaluate job: by default the shipped generator on the sample's held-out images."""

    generators: Globs = ("compact-x2",)
    """Files, URIs or catalog names of generators of one scale; bicubic is always measured."""
    archive: str = "sample:held-out"
    """URI or folder of references, from which pairs are synthesised."""
    degradation: RecipeField = Field(default="photo", validate_default=True)
    """Recipe: bicubic, photo-mild, photo, satellite, film, inpaint, surveillance, ct;
    or a YAML file, or its steps."""
    degraded: str = ""
    """URI or folder of degraded images, paired with `reference` by key; instead of `archive`."""
    reference: str = ""
    """URI or folder of their references."""
    metrics: tuple[MetricName, ...] = ("psnr_y", "psnr_rgb", "ssim_y", "ms_ssim")
    """Metrics to measure."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the degradation."""
    workers: WorkersConfig = WorkersConfig()
    output: str = "ganray-output/evaluate"
    """URI or folder of metrics.json."""

    @model_validator(mode="after")
    def _has_both_sides(self) -> "EvaluateConfig":
        if bool(self.degraded) != bool(self.reference):
            raise ValueError("degraded and reference belong together; give both or none")
        if not self.generators:
            raise ValueError("generators is empty; name at least one")
        return self


@dataclass(frozen=True)
class EvaluateJob:
    """What every worker is given once. `generators` maps names as given to absolute ones."""

    config: EvaluateConfig
    generators: dict[str, str]
    scale: int
    bands: int


@dataclass(frozen=True)
class PairMetrics:
    """The values of every generator on one pair, or why there are none."""

    key: str
    values: dict[str, Values]
    reason: str = ""


@dataclass(frozen=True)
class EvaluateResult:
    """`metrics.json` as a mapping, where it stands, and the pairs that failed."""

    content: dict[str, Any]
    output: str
    failed: tuple[PairMetrics, ...]


class EvaluateWorker:
    """Measures pairs; holds the generators."""

    def __init__(self, job: EvaluateJob, context: WorkerContext) -> None:
        torch.set_num_threads(job.config.workers.num_threads)
        self.job = job
        self.restorers = {name: Restorer.load(uri) for name, uri in job.generators.items()}

    def run(self, order: str) -> Iterator[PairMetrics]:
        """Measure the pair of one key by all generators."""
        try:
            yield self._measure(self._pair(order))
        except (CodecError, ConfigError, RestorationError) as error:
            yield PairMetrics(order, {}, str(error))

    def close(self) -> None:
        """Nothing is held beyond memory."""

    def _pair(self, key: str) -> Pair:
        config = self.job.config
        if config.degraded:
            stores = open_store(config.degraded), open_store(config.reference)
            return read_pair(*stores, key, bands=self.job.bands)
        return synthesise_pair(
            open_store(config.archive),
            key,
            config.degradation,
            bands=self.job.bands,
            scale=self.job.scale,
            seed=config.seed,
        )

    def _measure(self, pair: Pair) -> PairMetrics:
        names = self.job.config.metrics
        values = {BICUBIC: measure_bicubic(pair, names, scale=self.job.scale)}
        for name, restorer in self.restorers.items():
            values[name] = measure_restorer(restorer, pair, names)
        return PairMetrics(pair.key, values)


def run_evaluation(
    config: EvaluateConfig, report: Callable[[PairMetrics, int], None]
) -> EvaluateResult:
    """Measure every pair; `report` gets each with the number of pairs. Raises GanrayError."""
    job, keys, measured = _plan(config)
    for pair in measured:
        report(pair, len(keys))
    for pair in run_pool(EvaluateWorker, job, keys, config.workers):
        measured.append(pair)
        report(pair, len(keys))
    measured.sort(key=lambda pair: pair.key)
    good = [pair for pair in measured if not pair.reason]
    content = _summarise(good, job)
    store = open_store(config.output)
    store.write("config.yaml", to_yaml(job.config).encode())
    store.write("metrics.json", (json.dumps(content, indent=2) + "\n").encode())
    failed = tuple(pair for pair in measured if pair.reason)
    return EvaluateResult(content, config.output, failed)


def _plan(config: EvaluateConfig) -> tuple[EvaluateJob, list[str], list[PairMetrics]]:
    """The job, the keys to measure, and the pairs that fail by their headers."""
    checkpoints = {name: load_checkpoint(name) for name in config.generators}
    scales = {checkpoint.scale for checkpoint in checkpoints.values()}
    bands = {checkpoint.bands for checkpoint in checkpoints.values()}
    if len(scales) > 1 or len(bands) > 1:
        found = ", ".join(f"{n}: x{c.scale}, {c.bands} bands" for n, c in checkpoints.items())
        raise ConfigError(f"generators of one scale and one band count are compared; found {found}")
    generators = {name: absolute_generator(name) for name in config.generators}
    job = EvaluateJob(_absolute(config), generators, scales.pop(), bands.pop())
    if not config.degraded:
        config.degradation.require_fit(scale=job.scale, bands=job.bands)
    keys, refused = _paired(job.config) if config.degraded else _references(job)
    return job, keys, [PairMetrics(item.key, {}, item.reason) for item in refused]


def _absolute(config: EvaluateConfig) -> EvaluateConfig:
    """The configuration with URIs that every worker understands."""
    folders = {name: getattr(config, name) for name in ("archive", "degraded", "reference")}
    return config.model_copy(
        update={name: resolve_archive(uri) for name, uri in folders.items() if uri}
    )


def _references(job: EvaluateJob) -> tuple[list[str], list[Refused]]:
    smallest = SMALLEST_SIDE + 2 * job.scale
    found, refused = split_readable(job.config.archive, job.config, smallest_side=smallest)
    return [item.key for item in found], refused


def _paired(config: EvaluateConfig) -> tuple[list[str], list[Refused]]:
    """Keys that both archives hold; a missing partner is an error that names it."""
    sides = [split_readable(uri, config) for uri in (config.degraded, config.reference)]
    refused = {item.key: item for _, others in sides for item in others}
    degraded, reference = (
        {item.key for item in found} | {item.key for item in others} for found, others in sides
    )
    alone = sorted(degraded ^ reference)
    if alone:
        raise ConfigError(
            f"{len(alone)} keys have no partner, {alone[0]} first; degraded and reference are "
            "paired by equal keys. Use include and exclude to leave keys out"
        )
    return sorted(degraded - refused.keys()), list(refused.values())


def _summarise(pairs: Sequence[PairMetrics], job: EvaluateJob) -> dict[str, Any]:
    if not pairs:
        raise EmptyArchiveError("no pair could be measured; see the reasons above")
    return {
        name: {metric: _column(pairs, name, metric, job) for metric in job.config.metrics}
        for name in (BICUBIC, *job.config.generators)
    }


def _column(
    pairs: Sequence[PairMetrics], name: str, metric: str, job: EvaluateJob
) -> dict[str, Any]:
    """One generator's values of one metric, with what the metric is beside them."""
    values = {pair.key: pair.values[name][metric] for pair in pairs}
    known = [value for value in values.values() if value is not None]
    return {
        "mean": fmean(known) if known else None,
        "num_images": len(known),
        "per_image": values,
        "crop": job.scale,
        "definition": METRICS[metric].definition,
    }
