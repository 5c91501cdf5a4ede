"""Training samples: sample number i is always the same pair, whoever makes it and when.

Its image, position, flip and degradation follow from (seed, i). A worker of N takes its
share of every global batch, so that the number of workers does not change what is learnt.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator

from ganray.codecs import photo
from ganray.degradation.recipe import Recipe, degrade
from ganray.errors import CodecError, TrainingError
from ganray.raster.image import FloatPixels, to_float
from ganray.storage import Store, open_store

logger = logging.getLogger(__name__)

CACHE_BYTES = 512 * 1024**2
LARGEST_REFERENCE_PIXELS = 2**28


@dataclass(frozen=True)
class SamplePlan:
    """What samples are cut from and how: keys of one archive, patch side, recipe, seed."""

    archive: str
    keys: tuple[str, ...]
    bands: int
    patch_pixels: int
    scale: int
    recipe: Recipe
    seed: int


@dataclass(frozen=True)
class Share:
    """The part of every global batch that one worker computes."""

    rank: int
    num_workers: int
    batch_size: int

    @property
    def size(self) -> int:
        return len(self.indices(0))

    def indices(self, step: int) -> range:
        """Sample numbers of this worker at `step`."""
        begin = step * self.batch_size
        low = self.rank * self.batch_size // self.num_workers
        high = (self.rank + 1) * self.batch_size // self.num_workers
        return range(begin + low, begin + high)

    @property
    def weight(self) -> float:
        """This worker's part of the global batch."""
        return self.size / self.batch_size


class SampleReader:
    """Makes pairs from references of one archive, decoded ones kept up to CACHE_BYTES."""

    def __init__(self, plan: SamplePlan) -> None:
        self.store = open_store(plan.archive)
        self.plan = plan
        self._cache: OrderedDict[str, FloatPixels] = OrderedDict()
        self._cached_bytes = 0
        self._damaged: set[str] = set()

    def pair(self, index: int) -> tuple[FloatPixels, FloatPixels]:
        """Sample `index`: degraded (C,P/scale,P/scale) and reference (C,P,P), in 0-1."""
        plan = self.plan
        rng = np.random.default_rng((plan.seed, index))
        image = self._readable(image_of_sample(index, len(plan.keys), plan.seed))
        reference = _augment(_cut(image, plan.patch_pixels, rng), rng)
        whole = torch.from_numpy(reference)[None]
        degraded = degrade(whole, plan.recipe, scale=plan.scale, seeds=[(plan.seed, index)])
        return degraded.pixels[0].numpy(), reference

    def _readable(self, position: int) -> FloatPixels:
        """The reference at `position`, or the next one that decodes: the same for every worker."""
        keys = self.plan.keys
        for key in (*keys[position:], *keys[:position]):
            if key in self._damaged:
                continue
            try:
                return self._reference(key)
            except CodecError as error:
                self._damaged.add(key)
                logger.warning("skipped key=%s reason=%s", key, error)
        raise TrainingError(f"no reference of {self.plan.archive} can be decoded; see the warnings")

    def _reference(self, key: str) -> FloatPixels:
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        pixels = read_reference(self.store, key, self.plan.bands)
        self._cache[key] = pixels
        self._cached_bytes += pixels.nbytes
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= oldest.nbytes
        return pixels


def read_reference(store: Store, key: str, bands: int) -> FloatPixels:
    """Decode one reference to (bands,H,W) in 0-1: alpha is left out, gray is repeated."""
    image = photo.decode(store.read(key), max_pixels=LARGEST_REFERENCE_PIXELS)
    colour = [i for i, name in enumerate(image.profile.colorinterp) if name != "alpha"]
    pixels = to_float(image.pixels[colour])
    if pixels.shape[0] == bands:
        return pixels
    return np.repeat(pixels.mean(axis=0, keepdims=True), bands, axis=0)


def image_of_sample(index: int, num_images: int, seed: int) -> int:
    """Which image sample `index` is cut from: every epoch takes each image once, shuffled."""
    epoch, position = divmod(index, num_images)
    order = np.random.default_rng((seed, epoch)).permutation(num_images)
    return int(order[position])


def stack_pairs(reader: SampleReader, indices: Sequence[int]) -> dict[str, FloatPixels]:
    """The pairs of `indices` as two arrays, (B,C,h,w) and (B,C,P,P)."""
    pairs = [reader.pair(index) for index in indices]
    return {
        "degraded": np.stack([degraded for degraded, _ in pairs]),
        "reference": np.stack([reference for _, reference in pairs]),
    }


def _cut(image: FloatPixels, side: int, rng: Generator) -> FloatPixels:
    top = rng.integers(image.shape[1] - side + 1)
    left = rng.integers(image.shape[2] - side + 1)
    return image[:, top : top + side, left : left + side]


def _augment(patch: FloatPixels, rng: Generator) -> FloatPixels:
    """One of the eight symmetries of the square."""
    turned = np.rot90(patch, int(rng.integers(4)), axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if rng.integers(2) else turned)
