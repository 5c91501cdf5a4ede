"""What a training learns from, planned from headers alone: every mistake shows before it starts."""

from dataclasses import dataclass

import numpy as np

from ganray.degradation.recipe import Recipe
from ganray.errors import ConfigError, NotFoundError
from ganray.manifest import Selection, Unreadable, probe_input
from ganray.pipelines.archives import Refused, open_archive, split_readable
from ganray.pipelines.data_config import AUTO, DataConfig
from ganray.pipelines.train_images import (
    NUM_NAMED,
    Images,
    Needs,
    ValidationPlan,
    find_images,
    hold_out,
    listed,
    pair_images,
    patch_depth,
    require_bands,
    require_few,
)
from ganray.storage import join_uri, open_store
from ganray.training.references import Reading, fits
from ganray.training.samples import SamplePlan
from ganray.training.shards import READING_SECTIONS, VALIDATION_FOLDER, ShardIndex, read_index

LARGE_PIXELS = 2**18
"""A decoded image gives a patch more for each such number of its pixels."""
MOST_TURNS = 8
"""Steps whose samples are cut together: see `train_data.STEPS_PER_BLOCK`."""


@dataclass(frozen=True)
class DataPlan:
    """What is learnt from and measured on, what was skipped, and what a user should know.

    `num_images` images of the archive `origin` are learnt from, in whatever form.
    """

    samples: SamplePlan
    validation: ValidationPlan
    num_images: int
    origin: str
    trained_on: str
    skipped: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()


def plan_data(config: DataConfig, needs: Needs) -> DataPlan:
    """Read the headers of all archives, whose URIs are absolute. Raises GanrayError."""
    index = read_index(open_archive(config.archive))
    if index is not None:
        return _plan_shards(config, needs, index)
    images = find_images(config, needs)
    require_few(images.refused, len(images.inputs), config.archive, config.max_failed)
    require_bands(images.inputs, config, needs.bands)
    held_out = hold_out(images.keys, config.num_validation_images) if _holds_out(config) else []
    learnt = images.only([i for i in range(len(images.inputs)) if i not in set(held_out)])
    validation, unmeasured = _named_validation(config, needs)
    if _holds_out(config):
        validation = images.only(held_out).for_validation()
    samples = SamplePlan(
        archive=config.archive,
        keys=learnt.keys,
        reading=Reading(needs.bands, patch_depth(learnt, needs.bands), config.codecs),
        patch_pixels=config.patch_pixels,
        scale=needs.scale,
        seed=config.seed,
        batch_size=needs.batch_size,
        num_turns=_num_turns(config, learnt),
        recipe=_recipe(config, needs),
        takes_mask=needs.takes_mask,
        degraded=learnt.degraded,
        degraded_keys=tuple(item.key for item in learnt.twins),
        max_failed=config.max_failed,
        cache_bytes=config.cache_bytes,
    )
    kind = "pairs" if config.degraded else "images"
    notes = (*_notes(len(learnt.keys), needs.batch_size), _validation_note(config, validation))
    trained_on = f"{len(learnt.keys)} {kind} of {config.archive}"
    return DataPlan(
        samples=samples,
        validation=validation,
        num_images=len(learnt.keys),
        origin=config.archive,
        trained_on=trained_on,
        skipped=(*images.refused, *unmeasured),
        notes=notes,
    )


def _plan_shards(config: DataConfig, needs: Needs, index: ShardIndex) -> DataPlan:
    """A training on shards; what could not be read was named when they were made."""
    config = _as_cut(config, index)
    _require_fit(config, needs, index)
    is_averaged = needs.bands == 1 and 3 in index.bands
    samples = SamplePlan(
        archive=config.archive,
        keys=(),
        reading=Reading(needs.bands, "float32" if is_averaged else index.dtype, config.codecs),
        patch_pixels=config.patch_pixels,
        scale=needs.scale,
        seed=config.seed,
        batch_size=needs.batch_size,
        num_turns=1 if config.patches_per_image == AUTO else int(config.patches_per_image),
        recipe=_recipe(config, needs),
        takes_mask=needs.takes_mask,
        shards=index,
        max_failed=config.max_failed,
        cache_bytes=config.cache_bytes,
    )
    if _holds_out(config):
        validation, unmeasured = _copied_validation(config, needs, index)
    else:
        validation, unmeasured = _named_validation(config, needs)
    trained_on = (
        f"{index.num_rows} sub-images of {index.num_images} images of {index.archive}, in shards "
        f"at {config.archive}"
    )
    notes = (*_notes(index.num_rows, needs.batch_size), _validation_note(config, validation))
    return DataPlan(
        samples=samples,
        validation=validation,
        num_images=index.num_images,
        origin=index.archive,
        trained_on=trained_on,
        skipped=unmeasured,
        notes=notes,
    )


def _as_cut(config: DataConfig, index: ShardIndex) -> DataConfig:
    """The configuration with what was decided when the shards were cut.

    Raises ConfigError where it says otherwise.
    """
    sections = {name: getattr(index.codecs, name) for name in READING_SECTIONS}
    decided = sections | {"selection": Selection()}
    wrong = [
        name for name, cut in decided.items() if getattr(config, name) not in (cut, type(cut)())
    ]
    if wrong:
        raise ConfigError(
            f"{listed(wrong)} would change what {config.archive} holds, and that was decided when "
            "its shards were cut; leave it out, or cut the archive again with it"
        )
    return config.model_copy(update=sections)


def _require_fit(config: DataConfig, needs: Needs, index: ShardIndex) -> None:
    """Raise ConfigError unless this training can take its patches from these shards."""
    if config.degraded:
        raise ConfigError(
            f"{config.archive} holds shards, which have no degraded twins; leave "
            "degraded out, or train on both archives themselves"
        )
    if index.smallest_pixels < config.patch_pixels:
        raise ConfigError(
            f"patch_pixels={config.patch_pixels}, and {config.archive} has sub-images with sides "
            f"of {index.smallest_pixels}; take smaller patches, or cut the archive again with "
            f"smallest_pixels={config.patch_pixels} and side_pixels of at least as much"
        )
    is_single = config.geo.bands == "each"
    wrong = [bands for bands in index.bands if not fits(bands, needs.bands) and not is_single]
    if wrong:
        raise ConfigError(
            f"{config.archive} has sub-images of {listed(wrong)} bands, and the generator takes "
            f"{needs.bands}; choose one for them, or cut again with geo.bands"
        )


def _recipe(config: DataConfig, needs: Needs) -> Recipe | None:
    """What degrades the references; None where pairs are given. Raises ConfigError."""
    recipe = None if config.degraded else config.degradation
    if recipe is not None:
        recipe.require_fit(scale=needs.scale, bands=needs.bands)
    if needs.takes_mask and (recipe is None or not recipe.has_mask):
        what = "pairs of images have" if recipe is None else f"degradation {recipe.name} has"
        raise ConfigError(
            f"the generator takes a mask of what is lost, and {what} none; take a recipe with a "
            "damage step, such as inpaint, or a generator without a mask"
        )
    return recipe


def _num_turns(config: DataConfig, images: Images) -> int:
    """How many batches share their images: 1 unless they would be decoded again and again."""
    if config.patches_per_image != AUTO:
        return int(config.patches_per_image)
    inputs = (*images.inputs, *images.twins)
    num_bytes = sum(i.num_pixels * i.num_bands * np.dtype(i.dtype).itemsize for i in inputs)
    if num_bytes <= config.cache_bytes:
        return 1
    mean_pixels = sum(item.num_pixels for item in images.inputs) // len(images.inputs)
    return min(max(mean_pixels // LARGE_PIXELS, 1), MOST_TURNS)


def _holds_out(config: DataConfig) -> bool:
    return config.validation == AUTO


def _named_validation(
    config: DataConfig, needs: Needs
) -> tuple[ValidationPlan, tuple[Refused, ...]]:
    """The first usable images of the validation archive that a user names, and the unusable."""
    if config.validation in ("", AUTO):
        return ValidationPlan(), ()
    found, refused = split_readable(config.validation, Selection(), codecs=config.codecs)
    images = Images(config.validation, tuple(found), tuple(refused))
    if config.validation_degraded:
        images = pair_images(images, config.validation_degraded, config, needs.scale)
    require_bands(images.inputs, config, needs.bands)
    number = min(len(images.inputs), config.num_validation_images)
    unmeasured = (Refused(i.key, f"not validated on: {i.reason}") for i in images.refused)
    return images.only(range(number)).for_validation(), tuple(unmeasured)


def _copied_validation(
    config: DataConfig, needs: Needs, index: ShardIndex
) -> tuple[ValidationPlan, tuple[Refused, ...]]:
    """The images that stand beside the shards for validation, and those that cannot be used."""
    folder = join_uri(config.archive, VALIDATION_FOLDER)
    store, found, unmeasured = open_store(folder), [], []
    for key in index.validation[: config.num_validation_images]:
        try:
            item = probe_input(store, store.stat(key), config.codecs)
        except NotFoundError as error:
            unmeasured.append(Refused(key, f"not validated on: {error}"))
            continue
        if isinstance(item, Unreadable):
            unmeasured.append(Refused(key, f"not validated on: {item.error}"))
        else:
            found.append(item)
    require_bands(found, config, needs.bands)
    return Images(folder, tuple(found), ()).for_validation(), tuple(unmeasured)


def _notes(num_images: int, batch_size: int) -> tuple[str, ...]:
    if num_images >= batch_size:
        return ()
    return (f"{num_images} images, batches of {batch_size}: several patches of an image in each",)


def _validation_note(config: DataConfig, validation: ValidationPlan) -> str:
    if not validation.keys:
        why = "" if config.validation == "" else ": too few images to leave any out"
        return f"no validation{why}"
    names = listed(validation.keys[:NUM_NAMED])
    if _holds_out(config):
        return f"validated on images that are left out of the training: {names}"
    return f"validated on {len(validation.keys)} images of {validation.archive}"
