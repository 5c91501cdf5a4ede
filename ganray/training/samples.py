"""Training samples: sample number i is always the same patch, whoever cuts it and when.

Its image, position and symmetry follow from (seed, i). A worker of N takes its share of every
global batch, so that the number of workers does not change what is learnt. What degrades a patch
is not here: that happens in batches, on the device that trains.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ganray.errors import CodecError, NotFoundError, TrainingError
from ganray.raster.image import Pixels
from ganray.raster.windows import Box
from ganray.training.references import Reading, Reference, repeat_band
from ganray.training.shards import ShardIndex

if TYPE_CHECKING:
    # It needs torch, which whoever only cuts patches does not load.
    from ganray.degradation.recipe import Recipe

logger = logging.getLogger(__name__)

# Of these seeds: an epoch's order has random numbers of its own.
ORDER = 0x6F7264

MISSING_SHARE = 0.05
"""A patch of which more has no value is cut elsewhere, if it can be."""
NUM_POSITIONS = 32
"""Positions that are tried, of which the one with the most values is taken otherwise."""

FAILURE_SEPARATOR = "\0"
"""Between the name of an image that could not be used and the reason: no key holds it."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class SamplePlan:
    """What samples are cut from and how.

    `keys` are images of `archive`; with `shards` it holds those instead. With `degraded`, another
    archive, the degraded half of each pair is read from the key at the same place in
    `degraded_keys`; otherwise it is made by `recipe`. `num_turns` consecutive batches of
    `batch_size` take their patches from the same images, so that a large one is not decoded for
    every patch. `takes_mask` says that the generator is shown what the recipe lost. `max_failed`
    is the part of the images that may turn out to be of no use, and `cache_bytes` what a reader
    keeps of decoded ones.
    """

    archive: str
    keys: tuple[str, ...]
    reading: Reading
    patch_pixels: int
    scale: int
    seed: int
    batch_size: int
    num_turns: int = 1
    recipe: "Recipe | None" = None
    degraded: str = ""
    degraded_keys: tuple[str, ...] = ()
    shards: ShardIndex | None = None
    takes_mask: bool = False
    max_failed: float = 0.1
    cache_bytes: int = 512 * 2**20

    @property
    def bands(self) -> int:
        return self.reading.bands


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


@dataclass(frozen=True)
class References:
    """An image to cut from, and its degraded twin in a paired archive."""

    reference: Reference
    degraded: Reference | None = None

    @property
    def num_bytes(self) -> int:
        return self.reference.num_bytes + (self.degraded.num_bytes if self.degraded else 0)


class Source(Protocol):
    """Numbered images; `load` raises CodecError or NotFoundError for one that cannot be used."""

    num_images: int

    def name(self, position: int) -> str: ...

    def load(self, position: int) -> References: ...


@dataclass(frozen=True)
class Sample:
    """A patch (C,P,P), in a paired archive with its degraded one (C,P/scale,P/scale).

    `failure` names the image that it should have come from and says why it did not.
    """

    reference: Pixels
    degraded: Pixels | None = None
    failure: str = ""


class SampleReader:
    """Cuts samples; images that were decoded are kept, up to the plan's `cache_bytes`."""

    def __init__(self, plan: SamplePlan, source: Source) -> None:
        self.plan = plan
        self.source = source
        self._kept = _Kept(plan.cache_bytes)
        self._damaged: dict[int, str] = {}

    def position(self, index: int) -> int:
        """The image that sample `index` is cut from."""
        plan = self.plan
        return image_of_sample(group_of_sample(index, plan), self.source.num_images, plan.seed)

    def sample(self, index: int) -> Sample:
        """Sample `index`."""
        position = self.position(index)
        images = self._readable(position)
        plan = self.plan
        rng = np.random.default_rng((plan.seed, index))
        band = None
        if images.reference.is_single:
            band = int(rng.integers(images.reference.pixels.shape[0]))
        box = _place(images, plan, rng)
        symmetry = int(rng.integers(8))
        degraded = None
        if images.degraded is not None:
            small = Box(
                *(side // plan.scale for side in (box.top, box.left, box.bottom, box.right))
            )
            degraded = self._turned(images.degraded.patch(small, band), symmetry)
        reference = self._turned(images.reference.patch(box, band), symmetry)
        return Sample(reference, degraded, self._damaged.get(position, ""))

    def _turned(self, patch: Pixels, symmetry: int) -> Pixels:
        turned = turn(patch, symmetry)
        return np.ascontiguousarray(repeat_band(turned, self.plan.bands))

    def _readable(self, position: int) -> References:
        """The image at `position`, or the next one that can be used: the same for every worker.

        Raises TrainingError when more than `max_failed` of all cannot.
        """
        num_images = self.source.num_images
        for place in (*range(position, num_images), *range(position)):
            if place in self._damaged:
                continue
            found = self._kept.get(place)
            if found is not None:
                return found
            try:
                return self._kept.put(place, self._large_enough(self.source.load(place)))
            except (CodecError, NotFoundError) as error:
                self._note(place, str(error))
        raise TrainingError(f"no image of {self.plan.archive} can be used; see the warnings")

    def _large_enough(self, images: References) -> References:
        height, width = images.reference.pixels.shape[1:]
        if min(height, width) < self.plan.patch_pixels:
            raise CodecError(f"{width}x{height}, and a patch has sides of {self.plan.patch_pixels}")
        return images

    def _note(self, place: int, reason: str) -> None:
        name = self.source.name(place)
        self._damaged[place] = f"{name}{FAILURE_SEPARATOR}{reason}"
        logger.warning("skipped key=%s reason=%s", name, reason)
        num_images, num_failed = self.source.num_images, len(self._damaged)
        if num_failed > self.plan.max_failed * num_images:
            raise TrainingError(
                f"{num_failed} of {num_images} images of {self.plan.archive} cannot be used, and "
                f"max_failed={self.plan.max_failed:g} allows fewer; the last is {name}: {reason}. "
                "Repair or exclude them, or raise max_failed"
            )


def group_of_sample(index: int, plan: SamplePlan) -> int:
    """Samples of one group share an image: `num_turns` batches take each slot's from the same."""
    turns, slot = divmod(index, plan.batch_size)
    return turns // plan.num_turns * plan.batch_size + slot


def image_of_sample(group: int, num_images: int, seed: int) -> int:
    """Which image a group is cut from: every epoch takes each image once, shuffled."""
    epoch, position = divmod(group, num_images)
    return int(_order(epoch, num_images, seed)[position])


@lru_cache(maxsize=4)
def _order(epoch: int, num_images: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng((ORDER, seed, epoch)).permutation(num_images)


def turn(patch: Pixels, symmetry: int) -> Pixels:
    """One of the eight symmetries of the square, 0-7."""
    turned = np.rot90(patch, symmetry % 4, axes=(1, 2))
    return turned[:, :, ::-1] if symmetry >= 4 else turned


def stack_samples(reader: SampleReader, indices: Sequence[int]) -> Arrays:
    """The samples of `indices`: "reference" (B,C,P,P) in the plan's depth, "index" (B,), "failure"
    (B,), and "degraded" (B,C,P/scale,P/scale) of a paired archive."""
    # Image by image, so that each is decoded once even where the cache holds a single one.
    order = sorted(range(len(indices)), key=lambda place: reader.position(indices[place]))
    samples = {place: reader.sample(indices[place]) for place in order}
    ordered = [samples[place] for place in range(len(indices))]
    arrays: Arrays = {
        "reference": np.stack([sample.reference for sample in ordered]),
        "index": np.array(indices, np.int64),
        "failure": np.array([sample.failure for sample in ordered]),
    }
    degraded = [sample.degraded for sample in ordered if sample.degraded is not None]
    return arrays | ({"degraded": np.stack(degraded)} if degraded else {})


def _place(images: References, plan: SamplePlan, rng: Generator) -> Box:
    """Where a patch is cut, where there are values; on the degraded image's grid of a pair."""
    _, height, width = images.reference.pixels.shape
    step = plan.scale if images.degraded is not None else 1
    best, least = None, 2.0
    for _ in range(NUM_POSITIONS):
        top, left = (
            step * int(rng.integers((side - plan.patch_pixels) // step + 1))
            for side in (height, width)
        )
        box = Box(top, left, top + plan.patch_pixels, left + plan.patch_pixels)
        missing = images.reference.missing_share(box)
        if missing < least:
            best, least = box, missing
        if least <= MISSING_SHARE:
            break
    assert best is not None
    return best


class _Kept:
    """Images that were decoded, the oldest use of which is forgotten beyond a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._images: dict[int, References] = {}

    def get(self, position: int) -> References | None:
        found = self._images.pop(position, None)
        if found is not None:
            self._images[position] = found
        return found

    def put(self, position: int, images: References) -> References:
        self._images[position] = images
        self.num_bytes += images.num_bytes
        while self.num_bytes > self.max_bytes and len(self._images) > 1:
            oldest = next(iter(self._images))
            self.num_bytes -= self._images.pop(oldest).num_bytes
        return images
