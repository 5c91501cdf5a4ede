"""What the training job is told, and the plan that is made of it before anything starts."""

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, model_validator

from ganray.config import default_registry
from ganray.errors import ConfigError
from ganray.evaluation.weights import MetricWeights
from ganray.models.catalog import discriminator_stride
from ganray.models.checkpoint import Checkpoint, build_generator, load_checkpoint
from ganray.models.transfer import transfer
from ganray.pipelines.archives import (
    absolute_generator,
    absolute_uri,
    require_apart,
    resolve_archive,
)
from ganray.pipelines.data_config import AUTO, DataConfig, resolve_validation
from ganray.pipelines.gate import GateConfig
from ganray.pipelines.gate_metrics import require_network
from ganray.pipelines.train_images import Needs
from ganray.pipelines.train_samples import DataPlan, plan_data
from ganray.pipelines.workers import WorkersConfig
from ganray.registry import find_incumbent, open_name, require_name
from ganray.training.config import (
    DiscriminatorConfig,
    DiscriminatorField,
    GeneratorConfig,
    GeneratorField,
    LoopConfig,
)
from ganray.training.objective import Objective
from ganray.training.samples import SamplePlan

CPU = torch.device("cpu")


class TrainGateConfig(GateConfig):
    """Whether the trained generator is promoted at the end, and by which rules."""

    name: str = ""
    """Name in `registry` that the trained generator is promoted under if it passes the gate;
    empty for no promotion."""
    archive: str = ""
    """URI or folder of references that the candidate is measured on; empty for the images of the
    validation."""
    degraded: str = ""
    """URI or folder of the degraded twins of `gate.archive`; otherwise they are synthesised."""
    weights: MetricWeights = MetricWeights()

    @model_validator(mode="after")
    def _is_consistent(self) -> "TrainGateConfig":
        if self.name:
            require_name(self.name)
        if self.degraded and not self.archive:
            raise ValueError("gate.degraded is given; name its references by gate.archive")
        return self


class TrainConfig(DataConfig, LoopConfig):
    """The training job: everything has a default that trains on the embedded sample."""

    generator: GeneratorField | None = None
    """Generator to build; by default that of `init_from`, or a compact one."""
    discriminator: DiscriminatorField = DiscriminatorConfig()
    init_from: str = "compact-x2"
    """Checkpoint to start from: file, URI, catalog name or `registry:NAME`; empty, or by default
    where `generator` is given, to start from random weights."""
    registry: str = Field(default_factory=default_registry)
    """URI or folder of the registry of `registry:NAME` and of `gate.name`; by default what
    GANRAY_REGISTRY names."""
    workers: WorkersConfig = WorkersConfig()
    gate: TrainGateConfig = TrainGateConfig()
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
        stride = discriminator_stride(self.discriminator.architecture, self.discriminator.options)
        if self.patch_pixels % stride:
            raise ValueError(
                f"patch_pixels {self.patch_pixels} is no multiple of {stride}, the stride of the "
                f"discriminator {self.discriminator.architecture}"
            )
        if self.stages.total_steps == 0:
            raise ValueError("all stages have 0 steps; give at least one of them some")
        return self


@dataclass(frozen=True)
class TrainPlan:
    """A checked training: what every worker needs, small enough to send to all of them."""

    config: TrainConfig
    architecture: str
    network: dict[str, Any]
    data: DataPlan

    @property
    def samples(self) -> SamplePlan:
        return self.data.samples

    @property
    def trained_on(self) -> str:
        return self.data.trained_on

    @property
    def total_steps(self) -> int:
        return self.config.stages.total_steps


def plan_training(config: TrainConfig) -> TrainPlan:
    """Read the archives' headers and the starting checkpoint; every mistake shows here."""
    config = _absolute(config)
    for name in ("archive", "degraded", "validation", "validation_degraded"):
        uri = getattr(config, name)
        if uri and uri != AUTO:
            require_apart(uri, config.output, names=(name, "output"))
    start = load_checkpoint(config.init_from) if config.init_from else None
    generator = _choose_generator(config, start)
    built, network = build_generator(generator.architecture, generator.options)
    if start is not None:
        # A start of which nothing fits shows here, before any worker starts.
        transfer(start, built)
    options = network.model_dump(mode="json")
    if config.patch_pixels % options["scale"]:
        raise ConfigError(
            f"patch_pixels {config.patch_pixels} is no multiple of the scale {options['scale']}"
        )
    _require_bands(config, options["bands"])
    # A file of weights that is another's shows here, before any worker starts.
    Objective(config.objective, bands=options["bands"], device=CPU, seed=config.seed)
    takes_mask = bool(options.get("mask", False))
    needs = Needs(options["bands"], options["scale"], config.batch_size, takes_mask)
    plan = TrainPlan(
        config=config,
        architecture=generator.architecture,
        network=options,
        data=plan_data(config, needs),
    )
    _require_gate(plan)
    return plan


def _require_gate(plan: TrainPlan) -> None:
    """Raise GanrayError unless the gate that is asked for can be held when the training ends."""
    gate, validation = plan.config.gate, plan.data.validation
    if not gate.name:
        return
    require_network(gate.perceptual, gate.weights)
    store = open_name(plan.config.registry, gate.name)
    find_incumbent(store, plan.samples.scale, plan.samples.bands)
    if gate.archive:
        return
    if validation.degraded:
        raise ConfigError(
            "gate.name is given, and the validation images are pairs; name the held-out pairs by "
            "gate.archive and gate.degraded"
        )
    if not validation.keys:
        raise ConfigError(
            "gate.name is given, and no image is held out to measure the candidate on; give "
            "gate.archive, or validation"
        )
    if (num_images := len(validation.keys)) < gate.min_images:
        raise ConfigError(
            f"gate.name is given, and the images of the validation are {num_images}, fewer than "
            f"gate.min_images={gate.min_images}, which prove nothing; give gate.archive, or more "
            "validation images by num_validation_images"
        )


def _absolute(config: TrainConfig) -> TrainConfig:
    """The configuration with URIs that every worker understands."""
    others = {"degraded": config.degraded, "validation_degraded": config.validation_degraded}
    places = {name: getattr(config.gate, name) for name in ("archive", "degraded")}
    gate = {name: resolve_archive(uri) for name, uri in places.items() if uri}
    return config.model_copy(
        update={
            "archive": resolve_archive(config.archive),
            "validation": resolve_validation(config),
            "init_from": _first_checkpoint(config),
            "output": absolute_uri(config.output),
            "registry": absolute_uri(config.registry),
            "gate": config.gate.model_copy(update=gate),
            **{name: resolve_archive(uri) for name, uri in others.items() if uri},
        }
    )


def _first_checkpoint(config: TrainConfig) -> str:
    """Where training starts; the default gives way to a generator that was asked for."""
    by_default = "init_from" not in config.model_fields_set
    if not config.init_from or (config.generator is not None and by_default):
        return ""
    return absolute_generator(config.init_from, config.registry)


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
