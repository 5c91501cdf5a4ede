"""Validation during a training: every worker measures some of the images, all know all values."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import nn

from ganray.errors import CodecError, RestorationError, StorageError
from ganray.models.checkpoint import (
    Provenance,
    build_generator,
    decode_checkpoint,
    encode_checkpoint,
)
from ganray.pipelines.pairs import Pair, measure_bicubic, measure_restorer, synthesise_pair
from ganray.pipelines.train_config import TrainPlan
from ganray.raster.image import from_float
from ganray.restoration import Restorer, RestorerConfig
from ganray.storage import open_store
from ganray.training.distributed import sum_over_workers
from ganray.training.references import read_reference
from ganray.training.samples import Share

logger = logging.getLogger(__name__)

PSNR = "psnr_y"
VALIDATION_METRICS = (PSNR, "ssim_y")

Note = Callable[[str, str], object]
"""Gets the key of an image that could not be measured on, and why."""


@dataclass(frozen=True)
class Measuring:
    """Where a worker measures, which part of the images, and whom it tells of those it cannot."""

    share: Share
    device: torch.device
    note: Note


def measure_validation(plan: TrainPlan, generator: nn.Module, place: Measuring) -> dict[str, float]:
    """Means of the validation metrics, through the same Restorer that restores archives.

    Every worker calls it and gets the same. A table of all images is summed, to which each
    worker brings its own rows, so that the means do not depend on the number of workers. The row
    of an image that cannot be read is unknown to all.
    """
    keys = plan.data.validation.keys
    if not keys:
        return {}
    table = torch.zeros(len(keys), len(VALIDATION_METRICS), 2, dtype=torch.float64)
    restorer, share = build_restorer(plan, generator, place.device), place.share
    for row in range(share.rank, len(keys), share.num_workers):
        pair = _readable_pair(plan, row, place.note)
        if pair is None:
            continue
        values = _measure(restorer, pair)
        for column, name in enumerate(VALIDATION_METRICS):
            if (value := values[name]) is not None:
                table[row, column] = torch.tensor([value, 1.0], dtype=torch.float64)
    if share.num_workers > 1:
        table = table.to(place.device)
        sum_over_workers(table)
    known: dict[str, list[float]] = {name: [] for name in VALIDATION_METRICS}
    for image in table.tolist():
        for name, (value, is_known) in zip(VALIDATION_METRICS, image, strict=True):
            known[name] += [value] if is_known else []
    return {f"validation_{name}": fmean(each) for name, each in known.items() if each}


def compare_with_bicubic(
    plan: TrainPlan, generator: nn.Module, device: torch.device, note: Note
) -> dict[str, float | None]:
    """The mean PSNR of the generator and of bicubic magnification on the validation images.

    Empty where none can be measured; None where the generator's results are not finite. At scale
    1 bicubic is the degraded image itself. One worker measures all.
    """
    if not plan.data.validation.keys:
        return {}
    restorer = build_restorer(plan, generator, device)
    reached: list[tuple[float, float]] = []
    for row in range(len(plan.data.validation.keys)):
        pair = _readable_pair(plan, row, note)
        if pair is None:
            continue
        ours = _measure(restorer, pair)[PSNR]
        bicubic = measure_bicubic(pair, (PSNR,), scale=plan.samples.scale)[PSNR]
        if ours is not None and bicubic is not None:
            reached.append((ours, bicubic))
    if not reached:
        return {}
    mean, baseline = (fmean(values) for values in zip(*reached, strict=True))
    # JSON has no word for what is not finite.
    known = mean if math.isfinite(mean) else None
    return {f"validation_{PSNR}": known, f"bicubic_{PSNR}": baseline}


def measure_baseline(plan: TrainPlan, note: Note) -> dict[str, float]:
    """Means of the validation metrics of bicubic magnification, under `bicubic_` and their name."""
    known: dict[str, list[float]] = {name: [] for name in VALIDATION_METRICS}
    for row in range(len(plan.data.validation.keys)):
        pair = _readable_pair(plan, row, note)
        if pair is None:
            continue
        measured = measure_bicubic(pair, VALIDATION_METRICS, scale=plan.samples.scale)
        for name, value in measured.items():
            known[name] += [] if value is None or not math.isfinite(value) else [value]
    return {f"bicubic_{name}": fmean(values) for name, values in known.items() if values}


def _measure(restorer: Restorer, pair: Pair) -> dict[str, float | None]:
    """The metrics of one pair; not a number where the generator's result is not finite."""
    try:
        return measure_restorer(restorer, pair, VALIDATION_METRICS)
    except RestorationError as error:
        logger.warning("validation key=%s error=%s", pair.key, error)
        return dict.fromkeys(VALIDATION_METRICS, math.nan)


def _readable_pair(plan: TrainPlan, row: int, note: Note) -> Pair | None:
    """The validation pair of a number; None, and noted, if it cannot be read."""
    try:
        return validation_pair(plan, row)
    except (CodecError, StorageError) as error:
        note(plan.data.validation.keys[row], f"not validated on: {error}")
        return None


def validation_pair(plan: TrainPlan, row: int) -> Pair:
    """The validation pair of a number: synthesised, or read from two archives."""
    validation, config = plan.data.validation, plan.config
    bands, codecs = plan.samples.bands, plan.samples.reading.codecs
    store, key = open_store(validation.archive), validation.keys[row]
    if not validation.degraded:
        return synthesise_pair(
            store,
            key,
            config.degradation,
            bands=bands,
            scale=plan.samples.scale,
            seed=config.seed,
            codecs=codecs,
        )
    twins = open_store(validation.degraded)
    reference, degraded = (
        from_float(read_reference(one, name, bands, codecs), "uint8")
        for one, name in ((store, key), (twins, validation.degraded_keys[row]))
    )
    return Pair(key, degraded, reference)


def build_restorer(plan: TrainPlan, generator: nn.Module, device: torch.device) -> Restorer:
    """What restores archives, with a generator in training."""
    _, network = build_generator(plan.architecture, plan.network)
    data = encode_checkpoint(generator, plan.architecture, network, Provenance("", {}))
    checkpoint = decode_checkpoint(data, "the generator in training")
    return Restorer(checkpoint, RestorerConfig(device=str(device)))
