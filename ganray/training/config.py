"""What a training is told: stages, adversarial game, networks, batches."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ganray.config import Section
from ganray.models.catalog import DISCRIMINATORS, GENERATORS
from ganray.training.augment import AugmentConfig
from ganray.training.monitor import StabilityConfig
from ganray.training.objective import ObjectiveConfig

LossName = Literal["relativistic", "nonsaturating", "hinge", "least_squares", "wasserstein"]
COMPANIONS: dict[str, dict[str, Any]] = {
    "hinge": {"r1": False, "r2": False, "spectral_norm": True},
    "wasserstein": {"r1": False, "r2": False, "gradient_penalty": 10.0, "discriminator_steps": 5},
}
"""What a loss needs beside it to bound its discriminator, by its paper."""
GAMMA_PER_PATCH = 2e-4
"""γ·batch of R3GAN's recipe (Huang et al. 2024)."""

Steps = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class StageConfig(Section):
    """One stage: its length, and a learning rate that falls along a cosine."""

    steps: Steps = 100
    """Number of optimizer updates."""
    learning_rate: PositiveFloat = 2e-4
    """Learning rate of the stage's first step."""
    final_learning_rate: PositiveFloat = 5e-5
    """Learning rate of its last step."""


class WarmupConfig(StageConfig):
    """The discriminator alone: it meets a generator that rests."""

    steps: Steps = 20
    """Number of optimizer updates."""
    learning_rate: PositiveFloat = 2e-4
    """Learning rate of the stage's first step."""
    final_learning_rate: PositiveFloat = 2e-4
    """Learning rate of its last step."""


class AdversarialStageConfig(StageConfig):
    """Both networks play."""

    learning_rate: PositiveFloat = 1e-4
    """Learning rate of the stage's first step."""
    final_learning_rate: PositiveFloat = 5e-5
    """Learning rate of its last step."""


class StagesConfig(Section):
    """The three stages of a training, in their order."""

    fidelity: StageConfig = StageConfig()
    warmup: WarmupConfig = WarmupConfig()
    adversarial: AdversarialStageConfig = AdversarialStageConfig()

    @property
    def total_steps(self) -> int:
        return self.fidelity.steps + self.warmup.steps + self.adversarial.steps


class AdversarialConfig(Section):
    """The game between generator and discriminator."""

    loss: LossName = "relativistic"
    """Which adversarial loss. hinge comes with spectral norm, and wasserstein with a gradient
    penalty and five discriminator steps, in place of r1 and r2, unless these are given."""
    weight: Annotated[float | None, Field(ge=0)] = None
    """Weight of the adversarial loss beside a pixel loss of weight 1: more is sharper and less
    faithful; by default what objective.texture makes of it."""
    gamma: NotNegative | None = None
    """Weight of the gradient penalties R1 (on references) and R2 (on restorations), whatever the
    patch's size; by default 0.0002 / batch_size."""
    final_gamma: NotNegative | None = None
    """Weight of these penalties at the last step, on a cosine; by default a tenth of gamma."""
    r1: bool = True
    """Penalise the discriminator's gradient on references."""
    r2: bool = True
    """Penalise the discriminator's gradient on restorations."""
    gradient_penalty: NotNegative = 0.0
    """Weight of WGAN-GP's penalty, between references and restorations; its paper has 10."""
    spectral_norm: bool = False
    """Bound every convolution of the discriminator by its spectral norm."""
    discriminator_steps: Positive = 1
    """Discriminator updates per generator update, on the same patches."""
    unrolled_steps: Annotated[int, Field(ge=0, le=10)] = 0
    """Discriminator steps that the generator looks ahead (Unrolled GAN), each worker on its own
    patches."""
    augmentation: AugmentConfig = AugmentConfig()

    @model_validator(mode="before")
    @classmethod
    def _follow_the_loss(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return COMPANIONS.get(values.get("loss", ""), {}) | values

    def gammas(self, batch_size: int) -> tuple[float, float]:
        """γ at the first and at the last step."""
        first = GAMMA_PER_PATCH / batch_size if self.gamma is None else self.gamma
        return first, first / 10 if self.final_gamma is None else self.final_gamma


def _from_name(value: Any) -> Any:
    return {"architecture": value} if isinstance(value, str) else value


class NetworkConfig(Section):
    """A network by its architecture's name, with that architecture's own options."""

    architecture: str
    """Name in the catalog."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The architecture's own options; what is left out has its default."""


class GeneratorConfig(NetworkConfig):
    """The generator to train, when it does not start from a checkpoint."""

    architecture: str = "compact"
    """Name of a generator in the catalog."""

    @model_validator(mode="after")
    def _is_known(self) -> "GeneratorConfig":
        if self.architecture not in GENERATORS:
            raise ValueError(f"expected one of {', '.join(GENERATORS)}")
        GENERATORS[self.architecture].config.model_validate(self.options)
        return self


class DiscriminatorConfig(NetworkConfig):
    """The discriminator."""

    architecture: str = "unet"
    """Name of a discriminator in the catalog."""

    @model_validator(mode="after")
    def _is_known(self) -> "DiscriminatorConfig":
        if self.architecture not in DISCRIMINATORS:
            raise ValueError(f"expected one of {', '.join(DISCRIMINATORS)}")
        DISCRIMINATORS[self.architecture].config.model_validate(self.options)
        return self


GeneratorField = Annotated[GeneratorConfig, BeforeValidator(_from_name)]
DiscriminatorField = Annotated[DiscriminatorConfig, BeforeValidator(_from_name)]


class LoopConfig(Section):
    """Everything the training loop itself needs."""

    stages: StagesConfig = StagesConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    stability: StabilityConfig = StabilityConfig()
    batch_size: Positive = 8
    """Patches per step over all workers."""
    micro_batches: Positive = 1
    """Parts that a worker computes its share of a batch in, one after the other: less memory."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay per step of the exponential moving average of the generator's weights; smaller at
    first, so that random weights are soon forgotten."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward passes; `auto` is bfloat16 on a GPU and float32 elsewhere. Penalties are in
    float32 always."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Compile the generator; `auto` does on a GPU."""
    log_every: Positive = 10
    """Steps between two lines of metrics."""
    validate_every: Positive = 50
    """Steps between two validations; the last step is always validated."""
    checkpoint_every: Positive = 50
    """Steps between two checkpoints; the last step always has one."""
