"""The adversarial game of the mode benchmarks, made of ganray's own losses and penalties.

One step of both players from one batch, for any networks and any shape of sample, and the
measures that are taken of what a generator learnt. What is played is named by a `Rule`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from ganray.training.adversarial_losses import ADVERSARIAL
from ganray.training.regularisers import wasserstein_penalty, zero_centred_penalty

NO_PENALTY, ZERO_CENTRED, WASSERSTEIN = "none", "R1+R2", "gradient penalty"


@dataclass(frozen=True)
class Rule:
    """What the discriminator minimises: a loss of ganray, and a penalty with its weight.

    The weight is γ of γ/2·(R1 + R2), or λ of the Wasserstein penalty; it falls to
    `weight_end` along with the learning rate.
    """

    loss: str
    penalty: str = NO_PENALTY
    weight: float = 0.0
    weight_end: float = 0.0

    @property
    def name(self) -> str:
        return self.loss if self.penalty == NO_PENALTY else f"{self.loss} + {self.penalty}"


@dataclass(frozen=True)
class Pace:
    """Length and speed of a training; the learning rate ends at `rate_end` by a cosine."""

    num_steps: int
    rate: float
    rate_end: float
    betas: tuple[float, float]
    batch: int


class Game:
    """Both players with their optimizers; the networks are trained in place.

    A batch has equal parts, one for each of `rngs`, from which its own numbers are drawn.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        rule: Rule,
        pace: Pace,
        rngs: Sequence[torch.Generator],
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.rule, self.pace = rule, pace
        self.optimizers = [
            Adam(network.parameters(), pace.rate, pace.betas, fused=True)
            for network in (generator, discriminator)
        ]
        self.rngs = rngs

    def step(self, index: int, real: Tensor, noise: Tensor, factor: float = 1.0) -> None:
        """Update the discriminator, then the generator; `factor` multiplies both losses."""
        part = (1 + math.cos(math.pi * index / self.pace.num_steps)) / 2
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.pace.rate_end + part * (self.pace.rate - self.pace.rate_end)
        weight = self.rule.weight_end + part * (self.rule.weight - self.rule.weight_end)
        fake = self.generator(noise)
        self.discriminator.requires_grad_(True)
        loss = self._discriminator_loss(real, fake.detach(), weight)
        self._descend(loss * factor, self.optimizers[1])
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            real_logits = self.discriminator(real)
        loss = ADVERSARIAL[self.rule.loss].generator(real_logits, self.discriminator(fake))
        self._descend(loss * factor, self.optimizers[0])

    def _discriminator_loss(self, real: Tensor, fake: Tensor, weight: float) -> Tensor:
        loss = ADVERSARIAL[self.rule.loss].discriminator
        if self.rule.penalty == ZERO_CENTRED:
            real_logits, r1 = zero_centred_penalty(self.discriminator, real)
            fake_logits, r2 = zero_centred_penalty(self.discriminator, fake)
            return loss(real_logits, fake_logits) + weight / 2 * (r1 + r2)
        value = loss(self.discriminator(real), self.discriminator(fake))
        if self.rule.penalty == WASSERSTEIN:
            number = len(real) // len(self.rngs)
            mix_B = torch.cat([torch.rand(number, generator=rng) for rng in self.rngs])
            value = value + weight * wasserstein_penalty(self.discriminator, real, fake, mix_B)
        return value

    @staticmethod
    def _descend(loss: Tensor, optimizer: Adam) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@dataclass(frozen=True)
class Coverage:
    """Modes that samples reach, the share of samples in a mode, KL(samples‖uniform) in nats."""

    modes: int
    high_quality: float
    kl: float


def mode_coverage(modes_N: Tensor, num_modes: int) -> Coverage:
    """Of the mode of every sample, −1 for a sample that is in none.

    The divergence is that of the samples in a mode, as in PacGAN's published code; ln K, the
    most it can be, where there are none.
    """
    inside = modes_N[modes_N >= 0]
    counts = torch.bincount(inside, minlength=num_modes)
    if not len(inside):
        return Coverage(0, 0.0, math.log(num_modes))
    shares = counts.double() / len(inside)
    kl = torch.xlogy(shares, shares * num_modes).sum()
    return Coverage(int((counts > 0).sum()), len(inside) / len(modes_N), float(kl))


def nearest_modes(points_N2: Tensor, means_K2: Tensor, sigma: float) -> Tensor:
    """The nearest mean's number per point, −1 beyond 3σ of it."""
    distances, modes = torch.cdist(points_N2, means_K2).min(dim=1)
    return torch.where(distances <= 3 * sigma, modes, -1)


def check_measures() -> None:
    """Stop if the measures miss known answers; a benchmark begins with it."""
    even = mode_coverage(torch.arange(1000).repeat(26), 1000)
    assert even == Coverage(1000, 1.0, 0.0), even
    half = mode_coverage(torch.tensor([0, 1, 2, 3, -1, -1]), 8)
    assert half.modes == 4, half
    assert math.isclose(half.high_quality, 4 / 6), half
    assert math.isclose(half.kl, math.log(2)), half
    uneven = mode_coverage(torch.tensor([0, 0, 0, 1]), 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert math.isclose(uneven.kl, expected), uneven
    means = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    points = torch.tensor([[0.0, 0.029], [0.0, 0.031], [0.98, 0.0]])
    assert nearest_modes(points, means, 0.01).tolist() == [0, -1, 1]
    assert mean_and_error([1.0, 3.0]) == (2.0, 1.0)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error; the error of one value is not a number."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))
