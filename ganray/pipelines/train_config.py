"""What the training job is told, and the plan that is made of it before anything starts."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from ganray.degradation.recipe import RecipeField
from ganray.errors import ConfigError
from ganray.manifest import Selection
from ganray.models.checkpoint import Checkpoint, build_generator, load_checkpoint
from ganray.pipelines.archives import (
    absolute_generator,
    absolute_uri,
    readable_inputs,
    resolve_archive,
)
from ganray.pipelines.workers import WorkersConfig
from ganray.training.config import (
    DiscriminatorConfig,
    DiscriminatorField,
    GeneratorConfig,
    GeneratorField,
    LoopConfig,
)
from ganray.training.samples import SamplePlan

DISCRIMINATOR_STRIDE = 8


class TrainConfig(LoopConfig):
    """The training job: everything has a default that trains on the embedded sample."""

    archive: str = "sample:training"
    """URI or folder of the references: good images, from which pairs are synthesised."""
    selection: Selection = Selection()
    validation: str = "sample:held-out"
    """URI or folder of images for validation; empty for none."""
    num_validation_images: Annotated[int, Field(ge=1)] = 4
    """Images of the validation archive that are measured each time, the first by key."""
    degradation: RecipeField = Field(default="photo", validate_default=True)
    """Recipe: bicubic, photo-mild, photo, satellite, film, inpaint, surveillance, ct;
    or a YAML file, or its steps."""
    generator: GeneratorField | None = None
    """Generator to build; by default that of `init_from`, or a compact one."""
    discriminator: DiscriminatorField = DiscriminatorConfig()
    init_from: str = "compact-x2"
    """Checkpoint to start from: file, URI or catalog name; empty, or by default where `generator`
    is given, to start from random weights."""
    patch_pixels: Annotated[int, Field(gt=0)] = 64
    """Side of a reference patch: a multiple of 8 and of the scale."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of weights, samples and noise."""
    workers: WorkersConfig = WorkersConfig()
    output: str = "ganray-output/train"
    """URI or folder of the checkpoints, metrics and the trained generator."""
    resume: bool = True
    """Go on from the last checkpoint at `output`; otherwise what is there is replaced."""

    @model_validator(mode="after")
    def _has_a_share_for_every_worker(self) -> "TrainConfig":
        if self.batch_size < max(1, self.workers.max):
            raise ValueError(
                f"batch_size {self.batch_size} is smaller than workers.max {self.workers.max}"
            )
        if self.patch_pixels % DISCRIMINATOR_STRIDE:
            raise ValueError(f"patch_pixels {self.patch_pixels} is no multiple of 8")
        return self


@dataclass(frozen=True)
class TrainPlan:
    """A checked training: what every worker needs, small enough to send to all of them."""

    config: TrainConfig
    samples: SamplePlan
    architecture: str
    network: dict[str, Any]
    validation_keys: tuple[str, ...]
    trained_on: str

    @property
    def total_steps(self) -> int:
        return self.config.stages.total_steps


def plan_training(config: TrainConfig) -> TrainPlan:
    """Read the archives' headers and the starting checkpoint; every mistake shows here."""
    config = config.model_copy(
        update={
            "archive": resolve_archive(config.archive),
            "validation": resolve_archive(config.validation) if config.validation else "",
            "init_from": _first_checkpoint(config),
            "output": absolute_uri(config.output),
        }
    )
    start = load_checkpoint(config.init_from) if config.init_from else None
    generator = _choose_generator(config, start)
    _, network = build_generator(generator.architecture, generator.options)
    options = network.model_dump(mode="json")
    if config.patch_pixels % options["scale"]:
        raise ConfigError(
            f"patch_pixels {config.patch_pixels} is no multiple of the scale {options['scale']}"
        )
    _require_bands(config, options["bands"])
    inputs = readable_inputs(config.archive, config.selection, smallest_side=config.patch_pixels)
    samples = SamplePlan(
        archive=config.archive,
        keys=tuple(item.key for item in inputs),
        bands=options["bands"],
        patch_pixels=config.patch_pixels,
        scale=options["scale"],
        recipe=config.degradation,
        seed=config.seed,
    )
    return TrainPlan(
        config=config,
        samples=samples,
        architecture=generator.architecture,
        network=options,
        validation_keys=_first_keys(config.validation, config.num_validation_images),
        trained_on=f"{len(inputs)} images of {config.archive}",
    )


def _first_checkpoint(config: TrainConfig) -> str:
    """Where training starts; the default gives way to a generator that was asked for."""
    by_default = "init_from" not in config.model_fields_set
    if not config.init_from or (config.generator is not None and by_default):
        return ""
    return absolute_generator(config.init_from)


def _choose_generator(config: TrainConfig, start: Checkpoint | None) -> GeneratorConfig:
    """The generator asked for, or the starting checkpoint's."""
    if config.generator is not None or start is None:
        return config.generator or GeneratorConfig()
    return GeneratorConfig(
        architecture=start.architecture, options=start.network.model_dump(mode="json")
    )


def _require_bands(config: TrainConfig, bands: int) -> None:
    found = config.discriminator.options.get("bands", bands)
    if found != bands:
        raise ConfigError(
            f"discriminator.options.bands is {found} and the generator has {bands}; leave it out"
        )


def _first_keys(archive: str, number: int) -> tuple[str, ...]:
    """The first readable images of the validation archive."""
    if not archive:
        return ()
    return tuple(item.key for item in readable_inputs(archive, Selection())[:number])
