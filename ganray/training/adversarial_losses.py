"""The adversarial games, each beside its formula: both players' losses, on logits, without state.

D(x) are the logits (B,1,h,w) of references, D(y) those of their restorations; any shape will do.
Penalties of the discriminator's gradient are in `regularisers.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


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


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 − D(x)) + E max(0, 1 + D(y)), Miyato et al. 2018, eq. 16."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(real: Tensor, fake: Tensor) -> Tensor:
    """−E D(y): Miyato et al. 2018, eq. 17; `real` is not used."""
    return -fake.mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """½E (D(x) − 1)² + ½E D(y)², Mao et al. 2017 (LSGAN), eq. 9."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def least_squares_generator(real: Tensor, fake: Tensor) -> Tensor:
    """½E (D(y) − 1)², Mao et al. 2017 (LSGAN), eq. 9; `real` is not used."""
    return (fake - 1).square().mean() / 2


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E D(y) − E D(x), Gulrajani et al. 2017, eq. 3 without its penalty."""
    return fake.mean() - real.mean()


def wasserstein_generator(real: Tensor, fake: Tensor) -> Tensor:
    """−E D(y): Arjovsky et al. 2017, algorithm 1; `real` is not used."""
    return -fake.mean()


ADVERSARIAL = {
    "relativistic": AdversarialLoss(relativistic_discriminator, relativistic_generator),
    "nonsaturating": AdversarialLoss(nonsaturating_discriminator, nonsaturating_generator),
    "hinge": AdversarialLoss(hinge_discriminator, hinge_generator),
    "least_squares": AdversarialLoss(least_squares_discriminator, least_squares_generator),
    "wasserstein": AdversarialLoss(wasserstein_discriminator, wasserstein_generator),
}
