"""The state of a training: two networks, the averaged generator, two optimizers, the step.

Nothing in the loop draws random numbers: samples and their noise follow from (seed, sample
index), so that the step number is the whole data position and random state.
"""

import copy
import io
import pickle
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ganray.errors import CheckpointError
from ganray.models.discriminator import Discriminator

BETAS = (0.9, 0.99)

# What torch raises on bytes that are no state, or the state of something else.
_DAMAGE = (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError)


@dataclass
class TrainingState:
    """Everything that an interrupted training needs to go on bit by bit."""

    generator: nn.Module
    discriminator: Discriminator
    generator_ema: nn.Module
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    step: int = 0
    monitor: dict[str, Any] = field(default_factory=dict)
    """What the monitor and the ladder remember: plain numbers."""

    def update_ema(self, decay: float) -> None:
        """θ_ema ← decay·θ_ema + (1 − decay)·θ."""
        with torch.no_grad():
            weights = self.generator.parameters()
            for average, weight in zip(self.generator_ema.parameters(), weights, strict=True):
                average.lerp_(weight, 1 - decay)
            # Running statistics of batch norms are averages already.
            buffers = self.generator.buffers()
            for kept, buffer in zip(self.generator_ema.buffers(), buffers, strict=True):
                kept.copy_(buffer)


def new_state(generator: nn.Module, discriminator: Discriminator) -> TrainingState:
    """A state at step 0, on the networks' device."""
    return TrainingState(
        generator=generator,
        discriminator=discriminator,
        generator_ema=copy.deepcopy(generator).requires_grad_(False),
        generator_optimizer=torch.optim.Adam(generator.parameters(), betas=BETAS),
        discriminator_optimizer=torch.optim.Adam(discriminator.parameters(), betas=BETAS),
    )


def encode_state(state: TrainingState) -> bytes:
    """Serialise with torch.save; only tensors, numbers and strings are inside."""
    buffer = io.BytesIO()
    torch.save({"step": state.step, "monitor": state.monitor, **_parts(state)}, buffer)
    return buffer.getvalue()


def restore_state(state: TrainingState, data: bytes, source: str) -> None:
    """Load what `encode_state` wrote into a fresh state of the same configuration.

    Raises CheckpointError if `data` is damaged or belongs to other networks.
    """
    try:
        saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        for name in _parts(state):
            getattr(state, name).load_state_dict(saved[name])
        state.step, state.monitor = saved["step"], saved["monitor"]
    except _DAMAGE as error:
        raise CheckpointError(
            f"{source} is no training state of this configuration: {str(error)[:300]}. Choose "
            "another output, or set resume=false to start anew"
        ) from error


def learning_parts(state: TrainingState) -> dict[str, nn.Module | torch.optim.Optimizer]:
    """The networks and optimizers of a state, each of which has a `state_dict`."""
    names = (
        "generator",
        "discriminator",
        "generator_ema",
        "generator_optimizer",
        "discriminator_optimizer",
    )
    return {name: getattr(state, name) for name in names}


def _parts(state: TrainingState) -> dict[str, dict[str, Any]]:
    return {name: part.state_dict() for name, part in learning_parts(state).items()}
