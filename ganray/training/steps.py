"""One optimizer update of each kind. Pure torch: one process or many, Ray or not."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganray.training.adversarial_losses import ADVERSARIAL
from ganray.training.config import AdversarialConfig
from ganray.training.pixel_losses import charbonnier
from ganray.training.regularisers import zero_centred_penalty
from ganray.training.state import TrainingState

AverageGradients = Callable[[Iterable[nn.Parameter]], None]
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Training pairs: degraded (B,C,h,w) and reference (B,C,scale·h,scale·w), in 0-1."""

    degraded: Tensor
    reference: Tensor


def fidelity_step(
    state: TrainingState, batch: Batch, average: AverageGradients, autocast: torch.autocast
) -> Losses:
    """Update the generator by the pixel loss alone."""
    state.generator_optimizer.zero_grad()
    with autocast:
        pixel = charbonnier(state.generator(batch.degraded), batch.reference)
    pixel.backward()
    average(state.generator.parameters())
    state.generator_optimizer.step()
    return {"pixel": pixel.detach()}


def discriminator_step(
    state: TrainingState,
    batch: Batch,
    average: AverageGradients,
    autocast: torch.autocast,
    *,
    game: AdversarialConfig,
) -> Losses:
    """Update the discriminator: adversarial loss + γ/2·(R1 + R2)."""
    state.discriminator_optimizer.zero_grad()
    with torch.no_grad(), autocast:
        fakes = state.generator(batch.degraded)
    real, r1 = _judge(state.discriminator, batch.reference, game.r1, autocast)
    fake, r2 = _judge(state.discriminator, fakes.float(), game.r2, autocast)
    loss = ADVERSARIAL[game.loss].discriminator(real, fake)
    (loss + game.gamma / 2 * (r1 + r2)).backward()
    average(state.discriminator.parameters())
    state.discriminator_optimizer.step()
    gap = (real.mean() - fake.mean()).detach()
    return {"discriminator": loss.detach(), "r1": r1.detach(), "r2": r2.detach(), "gap": gap}


def generator_step(
    state: TrainingState,
    batch: Batch,
    average: AverageGradients,
    autocast: torch.autocast,
    *,
    game: AdversarialConfig,
) -> Losses:
    """Update the generator: pixel loss + weight·adversarial loss; the discriminator rests."""
    state.generator_optimizer.zero_grad()
    state.discriminator.requires_grad_(False)
    with autocast:
        restored = state.generator(batch.degraded)
        pixel = charbonnier(restored, batch.reference)
        with torch.no_grad():
            real = state.discriminator(batch.reference)
        adversarial = ADVERSARIAL[game.loss].generator(real, state.discriminator(restored))
    (pixel + game.weight * adversarial).backward()
    state.discriminator.requires_grad_(True)
    average(state.generator.parameters())
    state.generator_optimizer.step()
    return {"pixel": pixel.detach(), "adversarial": adversarial.detach()}


def _judge(
    discriminator: nn.Module, images: Tensor, penalised: bool, autocast: torch.autocast
) -> tuple[Tensor, Tensor]:
    if penalised:
        return zero_centred_penalty(discriminator, images)
    with autocast:
        logits: Tensor = discriminator(images)
    return logits, logits.new_zeros(())
