"""What the stages of a restoration take on a sample of the archive, one after the other; nothing is
written."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from ganray.codecs.catalog import is_tiff, is_video
from ganray.codecs.files import RASTER, decode_file, encode_file, written_format
from ganray.codecs.geo import is_geo, read_raster
from ganray.errors import CodecError, MissingExtraError, RestorationError, StorageError
from ganray.pipelines.placement import LARGEST_BYTES
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_orders import Pending
from ganray.pipelines.restore_plan import RestorePlan
from ganray.raster.image import Image, Pixels
from ganray.restoration import Restorer
from ganray.restoration.presentation import choose_parts
from ganray.restoration.tiling import PATCH_CORE
from ganray.storage import Store, open_store

TIMED_SIDE = 256


@dataclass
class Sample:
    """What the stages took on some inputs. Seconds of one thread."""

    num_inputs: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Keys and reasons of those that gave no measurement."""
    input_bytes: int = 0
    output_bytes: int = 0
    input_pixels: int = 0
    read_seconds: float = 0.0
    codec_seconds: float = 0.0
    generator_seconds: float = 0.0


def measure_sample(plan: RestorePlan) -> Sample:
    """Put the plan's sample through reading, decoding, the generator and encoding."""
    config = plan.config
    torch.set_num_threads(config.workers.num_threads)
    restorer = Restorer(plan.preparation.checkpoint, config.restorer)
    _warm_up(restorer)
    source = open_store(config.source)
    sample = Sample()
    for item in plan.sample:
        if is_video(item.key):
            continue
        if item.num_bytes > LARGEST_BYTES:
            reason = f"its {item.num_bytes / 1e6:.0f} MB are too many to be measured here"
            sample.failed.append((item.key, reason))
            continue
        try:
            _measure(sample, source, restorer, item=item, plan=plan)
        except (CodecError, MissingExtraError, RestorationError, StorageError) as error:
            sample.failed.append((item.key, str(error)))
    return sample


def _measure(
    sample: Sample, source: Store, restorer: Restorer, *, item: Pending, plan: RestorePlan
) -> None:
    config = plan.config
    clock: dict[str, float] = defaultdict(float)
    with _timed(clock, "read"):
        data = source.read(item.key)
    with _timed(clock, "codec"):
        image = _decode(source, item.key, data, config)
    _, height, width = image.pixels.shape
    mapping = config.geo.bands if image.profile.codec == RASTER else "all"
    shown = choose_parts(image.profile, mapping, restorer.checkpoint.bands)
    part = _middle(image.pixels)
    mask = restorer.blank_mask(*part.shape[1:])
    with _timed(clock, "generator"):
        for bands in (piece.bands for piece in shown if piece.treatment == "restore"):
            restorer.restore(_as_eight_bits(part[list(bands)]), mask=mask)
    # The middle alone is restored; the time is that of all of it.
    share = part.shape[1] * part.shape[2] / (height * width)
    # Its own pixels take as long as those of an output of the same size.
    larger = restorer.scale**2
    codec = written_format(image.profile.codec, config.codecs)
    begin = time.perf_counter()
    content = encode_file(image, codec, config.codecs, "", scale=1)
    clock["codec"] += (time.perf_counter() - begin) * larger
    sample.num_inputs += 1
    sample.input_bytes += item.num_bytes
    sample.output_bytes += len(content) * larger
    sample.input_pixels += height * width
    sample.read_seconds += clock["read"]
    sample.codec_seconds += clock["codec"]
    sample.generator_seconds += clock["generator"] / share * _halo_factor(restorer, height, width)


def _decode(source: Store, key: str, data: bytes, config: RestoreConfig) -> Image:
    limit = config.limits.pixels
    if is_tiff(key) and is_geo(source, key):
        return read_raster(source.uri, key, config.geo, max_pixels=limit)
    return decode_file(key, data, config.codecs, max_pixels=limit)


def _as_eight_bits(pixels: Pixels) -> Pixels:
    """Any pixels, as something of the same size that a generator takes."""
    numbers = np.nan_to_num(np.ascontiguousarray(pixels).astype(np.float32))
    return numbers.clip(0, 255).astype(np.uint8)


def _halo_factor(restorer: Restorer, height: int, width: int) -> float:
    """How much more a patch reads than it keeps, where an image has several: the sample is one
    patch, cut without a halo."""
    margin = restorer.tiling.halo + restorer.tiling.overlap
    sides = [min(length, PATCH_CORE + 2 * margin) for length in (height, width)]
    return (sides[0] * sides[1]) / (min(height, PATCH_CORE) * min(width, PATCH_CORE))


def _middle(pixels: Pixels) -> Pixels:
    _, height, width = pixels.shape
    top, left = max(0, (height - TIMED_SIDE) // 2), max(0, (width - TIMED_SIDE) // 2)
    return np.ascontiguousarray(pixels[:, top : top + TIMED_SIDE, left : left + TIMED_SIDE])


def _warm_up(restorer: Restorer) -> None:
    black = np.zeros((restorer.checkpoint.bands, 64, 64), np.float32)
    restorer.restore(black, mask=restorer.blank_mask(64, 64))


@contextmanager
def _timed(clock: dict[str, float], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    clock[name] += time.perf_counter() - begin
