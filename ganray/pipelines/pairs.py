"""Pairs of whole images for evaluation and validation, and what a generator makes of them."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ganray.codecs.catalog import DEFAULTS, Codecs
from ganray.degradation.recipe import Recipe, degrade
from ganray.errors import UnsupportedImageError
from ganray.evaluation.metric import Metric, Sample
from ganray.evaluation.metrics import build_metrics, measure_all
from ganray.evaluation.weights import MetricWeights
from ganray.raster.image import FloatPixels, Pixels, from_float, to_float
from ganray.raster.resample import resize
from ganray.raster.validity import Mask
from ganray.restoration import Restorer
from ganray.storage import Store
from ganray.training.references import Reading, as_reference, read_image, whole_reference


@dataclass(frozen=True)
class Pair:
    """One image to measure on: degraded (C,h,w), and its reference (C,scale·h,scale·w) if any.

    Both have 8 bits where their files have, and otherwise 16. `mask` (h,w) is true where a pixel
    is lost, if the degradation says so.
    """

    key: str
    degraded: Pixels
    reference: Pixels | None
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
    reference, dtype = _read(store, key, bands, codecs)
    _, height, width = reference.shape
    if min(height, width) < scale:
        raise UnsupportedImageError(
            f"{width}x{height}; expected sides of at least {scale} pixels: leave the image out"
        )
    reference = reference[:, : height - height % scale, : width - width % scale]
    degraded = degrade(
        torch.from_numpy(np.ascontiguousarray(reference))[None],
        recipe,
        scale=scale,
        seeds=[(seed, zlib.crc32(key.encode(errors="surrogateescape")))],
    )
    mask = None if degraded.mask is None else degraded.mask[0, 0].numpy() > 0
    pixels = degraded.pixels[0].numpy()
    return Pair(key, from_float(pixels, dtype), from_float(reference, dtype), mask)


def read_pair(
    degraded: Store,
    reference: Store | None,
    key: str,
    *,
    bands: int,
    scale: int,
    codecs: Codecs = DEFAULTS,
) -> Pair:
    """Read both files of one key from a pair of archives, or the degraded one alone.

    Raises CodecError, also where the reference is not `scale` times as large.
    """
    pixels, dtype = _read(degraded, key, bands, codecs)
    if reference is None:
        return Pair(key, from_float(pixels, dtype), None)
    larger, other = _read(reference, key, bands, codecs)
    (height, width), (_, expected_height, expected_width) = larger.shape[1:], pixels.shape
    if (height, width) != (scale * expected_height, scale * expected_width):
        raise UnsupportedImageError(
            f"the reference has {width}x{height} pixels and the degraded image "
            f"{expected_width}x{expected_height}; expected {scale} times as many each way"
        )
    return Pair(key, from_float(pixels, dtype), from_float(larger, other))


def _read(store: Store, key: str, bands: int, codecs: Codecs) -> tuple[FloatPixels, str]:
    """A whole image in 0-1, and the type that holds what its file does."""
    image = read_image(store, key, codecs)
    dtype = "uint8" if image.pixels.dtype == np.uint8 else "uint16"
    pixels = whole_reference(as_reference(image, Reading(bands, "float32", codecs)), bands)
    if not np.isfinite(pixels).all():
        raise UnsupportedImageError(
            "it holds values that are not finite; fill them, or declare what stands for none "
            "as its nodata"
        )
    return pixels, dtype


def restore_pair(restorer: Restorer, pair: Pair) -> Pixels:
    """What a generator makes of the degraded image, in its depth."""
    return restorer.restore(
        pair.degraded, mask=pair.mask if restorer.checkpoint.takes_mask else None
    )


def magnify_pair(pair: Pair, scale: int) -> Pixels:
    """The baseline: bicubic magnification of the degraded image, in its depth."""
    _, height, width = pair.degraded.shape
    magnified = bicubic(to_float(pair.degraded), scale * height, scale * width)
    return from_float(magnified, str(pair.degraded.dtype))


def bicubic(degraded: FloatPixels, height: int, width: int) -> FloatPixels:
    """Magnify (C,h,w) to (C,height,width)."""
    return resize(degraded, height, width, kernel="bicubic")


def sample_of(pair: Pair, restored: Pixels, scale: int) -> Sample:
    """A restoration with what it is held against. Raises RestorationError if it is not finite."""
    reference = None if pair.reference is None else to_float(pair.reference)
    return Sample(to_float(restored), reference, to_float(pair.degraded), pair.mask, scale)


def measure_restorer(
    restorer: Restorer, pair: Pair, metrics: Sequence[str]
) -> dict[str, float | None]:
    """Restore, quantise and measure by metrics that need no weights, cropped by the scale."""
    sample = sample_of(pair, restore_pair(restorer, pair), restorer.scale)
    return measure_all(_built(metrics), sample, crop=restorer.scale)


def measure_bicubic(pair: Pair, metrics: Sequence[str], *, scale: int) -> dict[str, float | None]:
    """The same of bicubic magnification."""
    sample = sample_of(pair, magnify_pair(pair, scale), scale)
    return measure_all(_built(metrics), sample, crop=scale)


def _built(metrics: Sequence[str]) -> Mapping[str, Metric]:
    return build_metrics(metrics, MetricWeights(), torch.device("cpu"))
