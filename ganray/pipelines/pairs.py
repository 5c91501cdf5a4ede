"""Pairs of whole images for evaluation and validation, and what a generator makes of them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ganray.codecs.catalog import DEFAULTS, Codecs
from ganray.degradation.recipe import Recipe, degrade
from ganray.evaluation.metric import Sample
from ganray.evaluation.metrics import build_metrics, measure_all
from ganray.evaluation.weights import MetricWeights
from ganray.raster.image import FloatPixels, Pixels, from_float, to_float
from ganray.raster.resample import resize
from ganray.raster.validity import Mask
from ganray.restoration import Restorer
from ganray.storage import Store
from ganray.training.references import read_reference


@dataclass(frozen=True)
class Pair:
    """One image to measure on: degraded (C,h,w) and reference (C,scale·h,scale·w), 8 bits.

    `mask` (h,w) is true where a pixel is lost, if the degradation says so.
    """

    key: str
    degraded: Pixels
    reference: Pixels
    mask: Mask | None = None


def synthesise_pair(
    store: Store,
    key: str,
    recipe: Recipe,
    *,
    bands: int,
    scale: int,
    seed: int,
    codecs: Codecs = DEFAULTS,
) -> Pair:
    """Degrade a whole reference; its randomness follows from (seed, key)."""
    reference = read_reference(store, key, bands, codecs)
    _, height, width = reference.shape
    reference = reference[:, : height - height % scale, : width - width % scale]
    degraded = degrade(
        torch.from_numpy(np.ascontiguousarray(reference))[None],
        recipe,
        scale=scale,
        seeds=[(seed, zlib.crc32(key.encode()))],
    )
    mask = None if degraded.mask is None else degraded.mask[0, 0].numpy() > 0
    pixels = degraded.pixels[0].numpy()
    return Pair(key, from_float(pixels, "uint8"), from_float(reference, "uint8"), mask)


def read_pair(degraded: Store, reference: Store, key: str, *, bands: int) -> Pair:
    """Read both files of one key from a pair of archives."""
    images = [read_reference(store, key, bands) for store in (degraded, reference)]
    return Pair(key, from_float(images[0], "uint8"), from_float(images[1], "uint8"))


def measure_restorer(
    restorer: Restorer, pair: Pair, metrics: Sequence[str]
) -> dict[str, float | None]:
    """Restore, quantise and measure against the reference, cropped by the scale."""
    mask = pair.mask if restorer.checkpoint.takes_mask else None
    restored = restorer.restore(pair.degraded, mask=mask)
    return _measure(restored, pair, metrics, restorer.scale)


def measure_bicubic(pair: Pair, metrics: Sequence[str], *, scale: int) -> dict[str, float | None]:
    """The baseline: bicubic magnification of the degraded image."""
    _, height, width = pair.reference.shape
    restored = from_float(bicubic(to_float(pair.degraded), height, width), "uint8")
    return _measure(restored, pair, metrics, scale)


def bicubic(degraded: FloatPixels, height: int, width: int) -> FloatPixels:
    """Magnify (C,h,w) to (C,height,width)."""
    return resize(degraded, height, width, kernel="bicubic")


def _measure(
    restored: Pixels, pair: Pair, metrics: Sequence[str], scale: int
) -> dict[str, float | None]:
    images = [to_float(pixels) for pixels in (restored, pair.reference, pair.degraded)]
    sample = Sample(images[0], images[1], images[2], pair.mask, scale)
    built = build_metrics(metrics, MetricWeights(), torch.device("cpu"))
    return measure_all(built, sample, crop=scale)
