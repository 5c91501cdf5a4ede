"""The images of an archive that a training can use, and their degraded twins, by their headers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from ganray.codecs.files import RASTER
from ganray.errors import ConfigError, EmptyArchiveError, TrainingError
from ganray.manifest import Input, Selection
from ganray.pipelines.archives import Refused, split_readable
from ganray.pipelines.data_config import DataConfig
from ganray.training.references import DEPTHS, fits

NUM_NAMED = 5
ONE_HELD_OUT_OF = 10
"""An archive gives at most one image of so many to validation."""


@dataclass(frozen=True)
class Needs:
    """What a training asks of its data: the generator's bands and scale, whether it takes a mask of
    what is lost, and the global batch."""

    bands: int
    scale: int
    batch_size: int
    takes_mask: bool = False


@dataclass(frozen=True)
class ValidationPlan:
    """The images that are measured, and where their degraded twins stand unless synthesised."""

    archive: str = ""
    keys: tuple[str, ...] = ()
    degraded: str = ""
    degraded_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Images:
    """The usable images of an archive in their order, and of each the key of its twin, if any."""

    archive: str
    inputs: tuple[Input, ...]
    refused: tuple[Refused, ...]
    degraded: str = ""
    twins: tuple[Input, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(item.key for item in self.inputs)

    def only(self, places: Sequence[int]) -> "Images":
        inputs = tuple(self.inputs[place] for place in places)
        twins = tuple(self.twins[place] for place in places) if self.twins else ()
        return Images(self.archive, inputs, self.refused, self.degraded, twins)

    def for_validation(self) -> ValidationPlan:
        twins = tuple(item.key for item in self.twins)
        return ValidationPlan(self.archive, self.keys, self.degraded, twins)


def find_images(config: DataConfig, needs: Needs) -> Images:
    smallest = config.patch_pixels
    found, refused = split_readable(
        config.archive, config.selection, smallest_side=smallest, codecs=config.codecs
    )
    if not config.degraded:
        return Images(config.archive, tuple(found), tuple(refused))
    return pair_images(
        Images(config.archive, tuple(found), tuple(refused)), config.degraded, config, needs.scale
    )


def pair_images(images: Images, degraded: str, config: DataConfig, scale: int) -> Images:
    """Each image with its degraded twin: of the same key, or of the same but for its suffix.

    An image without one, or whose twin is not 1/scale as large, is refused by name.
    """
    others, refused = split_readable(degraded, Selection(), codecs=config.codecs)
    by_key = {item.key: item for item in others}
    by_stem = {_stem(item.key): item for item in others}
    why_not = {_stem(item.key): item.reason for item in refused}
    pairs: list[tuple[Input, Input]] = []
    alone: list[Refused] = []
    for item in images.inputs:
        twin = by_key.get(item.key) or by_stem.get(_stem(item.key))
        if twin is None:
            reason = why_not.get(_stem(item.key), "there is none")
            alone.append(Refused(item.key, f"no degraded twin in {degraded}: {reason}"))
        elif (item.height, item.width) != (scale * twin.height, scale * twin.width):
            reason = (
                f"{item.width}x{item.height}, and its degraded twin {twin.key} is "
                f"{twin.width}x{twin.height}; expected {scale} times as large"
            )
            alone.append(Refused(item.key, reason))
        else:
            pairs.append((item, twin))
    if not pairs:
        raise EmptyArchiveError(
            f"no image of {images.archive} has a degraded twin; {alone[0].key}: {alone[0].reason}. "
            "Twins have the same names, whatever the suffix"
        )
    inputs, twins = zip(*pairs, strict=True)
    return Images(images.archive, inputs, (*images.refused, *alone), degraded, twins)


def _stem(key: str) -> str:
    return str(PurePosixPath(key).with_suffix(""))


def require_few(
    refused: Sequence[Refused], num_found: int, archive: str, max_failed: float
) -> None:
    """Raise TrainingError if more than a part of the images failed; small ones are sound."""
    failed = [item for item in refused if not item.is_small]
    num_images = num_found + len(failed)
    if len(failed) > max_failed * num_images:
        named = "; ".join(f"{item.key}: {item.reason}" for item in failed[:NUM_NAMED])
        raise TrainingError(
            f"{len(failed)} of {num_images} images of {archive} cannot be used, and "
            f"max_failed={max_failed:g} allows fewer: {named}. Repair or exclude them, or raise "
            "max_failed"
        )


def require_bands(inputs: Sequence[Input], config: DataConfig, bands: int) -> None:
    """Raise ConfigError that names the images whose bands do not fit the generator."""
    wrong: dict[int, list[str]] = {}
    for item in inputs:
        found = _num_bands(item, config)
        if not fits(found, bands):
            wrong.setdefault(found, []).append(item.key)
    if not wrong:
        return
    named = "; ".join(
        f"{len(keys)} of {found} bands ({listed(keys[:NUM_NAMED])}"
        f"{', …' if len(keys) > NUM_NAMED else ''})"
        for found, keys in sorted(wrong.items())
    )
    raise ConfigError(
        f"the generator takes {bands} bands besides alpha, and {config.archive} has {named}. "
        "Exclude them, choose bands of rasters by geo.bands, or set generator.options.bands"
    )


def _num_bands(item: Input, config: DataConfig) -> int:
    """Bands that training would take of an image."""
    if item.codec != RASTER or config.geo.bands == "all":
        return item.num_colours
    return 1 if config.geo.bands == "each" else len(config.geo.bands)


def patch_depth(images: Images, bands: int) -> str:
    """The smallest type that holds the patches of all images exactly."""
    inputs = (*images.inputs, *images.twins)
    if bands == 1 and any(item.num_colours == 3 and item.codec != RASTER for item in inputs):
        # Colours are averaged, and a mean is no integer.
        return "float32"
    return max((depth_of(item) for item in inputs), key=DEPTHS.index)


def depth_of(item: Input) -> str:
    """The type that holds what a generator sees of an image."""
    if item.dtype not in ("uint8", "uint16"):
        return "float32"
    whole = 0.0, float(np.iinfo(item.dtype).max)
    values = np.reshape(item.value_range or whole, (-1, 2)).tolist()
    return item.dtype if all(tuple(pair) == whole for pair in values) else "float32"


def hold_out(keys: Sequence[str], most: int) -> list[int]:
    """Places of the keys that are left out for validation: `most`, or fewer of a small archive.

    By their names alone, whatever the seed, so that they mostly stay where others come and go.
    """
    number = min(most, len(keys) // ONE_HELD_OUT_OF)
    digests = [hashlib.sha256(key.encode(errors="surrogateescape")).digest() for key in keys]
    return sorted(sorted(range(len(keys)), key=digests.__getitem__)[:number])


def listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
