"""The losses, each beside its formula. Everything works on logits; none keeps state.

D(x) are per-pixel logits (B,1,H,W); x is the reference, y = G(degraded) its restoration.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHARBONNIER_EPSILON = 1e-3


def charbonnier(restored: Tensor, reference: Tensor) -> Tensor:
    """mean sqrt((y − x)² + ε²), Lai et al. 2017 (LapSRN), eq. 1."""
    return torch.sqrt((restored - reference) ** 2 + CHARBONNIER_EPSILON**2).mean()


@dataclass(frozen=True)
class AdversarialLoss:
    """Both players' losses from the logits of references and of restorations."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E softplus(D(y) − D(x)), paired; Huang et al. 2024 (R3GAN), eq. 2."""
    return F.softplus(fake - real).mean()


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """E softplus(D(x) − D(y)): the same game seen by the generator."""
    return F.softplus(real - fake).mean()


def nonsaturating_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """−E log σ(D(x)) − E log(1 − σ(D(y))), Goodfellow et al. 2014, eq. 1."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def nonsaturating_generator(real: Tensor, fake: Tensor) -> Tensor:
    """−E log σ(D(y)): Goodfellow et al. 2014, section 3, on logits; `real` is not used."""
    return F.softplus(-fake).mean()


ADVERSARIAL = {
    "relativistic": AdversarialLoss(relativistic_discriminator, relativistic_generator),
    "nonsaturating": AdversarialLoss(nonsaturating_discriminator, nonsaturating_generator),
}


def gradient_penalty(discriminator: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The logits D(x) and HW·E‖∇ₓ mean D(x)‖²; Mescheder et al. 2018, eq. 9: R1 on x, R2 on y.

    With one logit per pixel, the mean's gradient shrinks with the number of pixels. The factor
    HW undoes that, so that γ means the same for every patch size. In float32 whatever the
    autocast, for its second derivative.
    """
    with torch.autocast(images.device.type, enabled=False):
        images = images.detach().float().requires_grad_()
        logits: Tensor = discriminator(images)
        means = logits.mean(dim=(1, 2, 3)).sum()
        (gradients,) = torch.autograd.grad(means, images, create_graph=True)
        num_pixels = images.shape[2] * images.shape[3]
        penalty = num_pixels * gradients.square().sum(dim=(1, 2, 3)).mean()
    return logits, penalty
