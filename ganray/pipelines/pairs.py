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
from ganray.pipelines.scenes import Call, apply
from ganray.pipelines.whole_image import WholeImage, measured_box, read_whole
from ganray.raster.image import FloatPixels, Pixels, from_float, to_float
from ganray.raster.resample import resize
from ganray.raster.validity import Mask
from ganray.raster.windows import Box, crop
from ganray.restoration import Restorer
from ganray.storage import Store


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
    call: Call = apply,
) -> Pair:
    """Degrade a whole reference; its randomness follows from (seed, key).

    Of one that lacks values the largest rectangle that has them. `call` calls the decoder.
    """
    found = call(read_whole, store, key, bands, codecs)
    reference, dtype = found.pixels, found.dtype
    if found.valid is not None:
        reference = crop(reference, measured_box(found.valid, scale))
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
    call: Call = apply,
) -> Pair:
    """Read both files of one key from a pair of archives, or the degraded one alone.

    Raises CodecError, also where the reference is not `scale` times as large.
    """
    found = call(read_whole, degraded, key, bands, codecs)
    if reference is None:
        pixels = found.pixels
        if found.valid is not None:
            pixels = crop(pixels, measured_box(found.valid))
        return Pair(key, from_float(pixels, found.dtype), None)
    larger = call(read_whole, reference, key, bands, codecs)
    (height, width), (_, expected_height, expected_width) = (
        larger.pixels.shape[1:],
        found.pixels.shape,
    )
    if (height, width) != (scale * expected_height, scale * expected_width):
        raise UnsupportedImageError(
            f"the reference has {width}x{height} pixels and the degraded image "
            f"{expected_width}x{expected_height}; expected {scale} times as many each way"
        )
    pixels, others = _cut_pair(found, larger, scale)
    return Pair(key, from_float(pixels, found.dtype), from_float(others, larger.dtype))


def _cut_pair(
    degraded: WholeImage, reference: WholeImage, scale: int
) -> tuple[FloatPixels, FloatPixels]:
    """The part of both in which every pixel has a value."""
    if degraded.valid is None and reference.valid is None:
        return degraded.pixels, reference.pixels
    _, height, width = degraded.pixels.shape
    valid = np.ones((height, width), bool)
    if degraded.valid is not None:
        valid &= degraded.valid
    if reference.valid is not None:
        valid &= reference.valid.reshape(height, scale, width, scale).all(axis=(1, 3))
    box = measured_box(valid)
    return crop(degraded.pixels, box), crop(
        reference.pixels,
        Box(*(scale * side for side in (box.top, box.left, box.bottom, box.right))),
    )


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
