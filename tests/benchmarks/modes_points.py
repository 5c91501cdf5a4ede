"""Mixtures of Gaussians in the plane, and generators that learn them, several seeds at once.

The networks of all seeds are one batched product: parameters are (S, in, out), points are
(S·B, 2), seed after seed. Every seed has its own random numbers and, since a loss is a mean over
all points times S, its own gradients: together they give what each would give alone, up to
rounding.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from modes_game import (
    Coverage,
    Game,
    Pace,
    Rule,
    mode_coverage,
    nearest_modes,
)
from torch import Tensor, nn
from torch.nn import functional as F

NUM_LATENT = 256
WIDTH = 128
NUM_SAMPLES = 2500


@dataclass(frozen=True)
class Mixture:
    """Gaussians of equal weight and of one deviation.

    `means` are (K, 2); `extent` is the largest coordinate of one. Networks work on points
    divided by it, as on images in −1 to 1, so that one learning rate and one γ serve mixtures
    of any size.
    """

    means: Tensor
    sigma: float
    extent: float


def ring() -> Mixture:
    angles = torch.arange(8) * (2 * math.pi / 8)
    return Mixture(torch.stack([angles.cos(), angles.sin()], dim=1), 0.01, 1.0)


def grid() -> Mixture:
    ticks = torch.arange(-4.0, 5.0, 2.0)
    return Mixture(torch.cartesian_prod(ticks, ticks), 0.05, 4.0)


class Ensemble(nn.Module):
    """Perceptrons of one shape, one per seed, initialised as torch initialises linear layers."""

    def __init__(
        self, widths: Sequence[int], rngs: list[torch.Generator], activation: Callable[..., Tensor]
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for num_in, num_out in pairwise(widths):
            bound = 1 / math.sqrt(num_in)
            for parameters, rows in ((self.weights, num_in), (self.biases, 1)):
                draws = [torch.rand(rows, num_out, generator=rng) for rng in rngs]
                parameters.append((torch.stack(draws) * 2 - 1) * bound)

    def forward(self, points: Tensor) -> Tensor:
        values = points.unflatten(0, (len(self.weights[0]), -1))
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = torch.baddbmm(bias, values, weight)
            if index < len(self.weights) - 1:
                values = self.activation(values)
        flat: Tensor = values.flatten(0, 1)
        return flat


def train_points(rule: Rule, mixture: Mixture, pace: Pace, seeds: Sequence[int]) -> list[Coverage]:
    """What the generator of every seed covers at the end of its training."""
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    generator = Ensemble((NUM_LATENT, WIDTH, WIDTH, 2), rngs, F.relu)
    discriminator = Ensemble((2, WIDTH, WIDTH, 1), rngs, lambda x: F.leaky_relu(x, 0.2))
    game = Game(generator, discriminator, rule, pace, rngs)
    for index in range(pace.num_steps):
        real = torch.cat([draw(mixture, pace.batch, rng) for rng in rngs])
        game.step(index, real, draw_noise(pace.batch, rngs), factor=len(seeds))
    with torch.no_grad():
        points = generator(draw_noise(NUM_SAMPLES, rngs)) * mixture.extent
    points = points.unflatten(0, (len(seeds), -1))
    modes = [nearest_modes(each, mixture.means, mixture.sigma) for each in points]
    return [mode_coverage(each, len(mixture.means)) for each in modes]


def draw(mixture: Mixture, number: int, rng: torch.Generator) -> Tensor:
    """Points (number, 2) of the mixture, divided by its extent."""
    modes = torch.randint(len(mixture.means), (number,), generator=rng)
    points = mixture.means[modes] + mixture.sigma * torch.randn(number, 2, generator=rng)
    return points / mixture.extent


def draw_noise(number: int, rngs: list[torch.Generator]) -> Tensor:
    return torch.cat([torch.randn(number, NUM_LATENT, generator=rng) for rng in rngs])
