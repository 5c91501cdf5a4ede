"""Tiny networks with batches and tools for tests of steps and of the loop."""

import torch
from torch import Tensor, nn

from ganray.models.compact import CompactConfig, CompactGenerator
from ganray.models.unet_discriminator import UNetConfig, UNetDiscriminator
from ganray.training.config import AdversarialConfig, LoopConfig
from ganray.training.loop import keep_gradients
from ganray.training.objective import Objective, ObjectiveConfig
from ganray.training.pixel_losses import charbonnier
from ganray.training.reactions import Ladder, Play
from ganray.training.state import TrainingState, new_state
from ganray.training.steps import Batch, Tools
from ganray.training.stopwatch import Stopwatch

CPU = torch.device("cpu")
FULL = torch.autocast("cpu", enabled=False)
PIXEL_ALONE = ObjectiveConfig(ms_ssim=0, feature_matching=0)


def make_state(seed: int = 0) -> TrainingState:
    torch.manual_seed(seed)
    generator = CompactGenerator(CompactConfig(num_features=4, num_convs=1, scale=2))
    return new_state(generator, UNetDiscriminator(UNetConfig(num_features=4)))


def make_batch(indices: range = range(2)) -> Batch:
    rngs = [torch.Generator().manual_seed(index) for index in indices]
    return Batch(
        degraded=torch.stack([torch.rand(3, 8, 8, generator=rng) for rng in rngs]),
        reference=torch.stack([torch.rand(3, 16, 16, generator=rng) for rng in rngs]),
        seeds=tuple((0, index) for index in indices),
    )


def make_objective(config: ObjectiveConfig = PIXEL_ALONE) -> Objective:
    return Objective(config, bands=3, device=CPU, seed=0)


def make_tools(state: TrainingState, **changes: object) -> Tools:
    """Tools that follow every gradient; `changes` are fields of it."""
    defaults = {
        "generate": state.generator,
        "pixel_loss": charbonnier,
        "objective": make_objective(),
        "autocast": FULL,
        "average_gradients": keep_gradients,
        "agree": float,
        "accepts": lambda player, norm: True,
        "augment": lambda images, seeds: images,
        "watch": Stopwatch(CPU),
    }
    return Tools(**{**defaults, **changes})  # type: ignore[arg-type]


def play_of(game: AdversarialConfig) -> Play:
    """The game as configured, with its first γ."""
    config = LoopConfig(adversarial=game)
    return Ladder(config).play(game.gammas(config.batch_size)[0])


def copies(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def unchanged(network: nn.Module, before: list[Tensor]) -> bool:
    return all(torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))


def gradients(network: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in network.parameters()]
