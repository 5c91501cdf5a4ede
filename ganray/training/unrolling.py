"""Looking ahead: the discriminator that a few more steps would make, as a function of the fakes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ganray.models.discriminator import Discriminator
from ganray.training.adversarial_losses import ADVERSARIAL
from ganray.training.reactions import Play

EPSILON = 1e-8


def look_ahead(
    discriminator: Discriminator, images: tuple[Tensor, Tensor], play: Play, learning_rate: float
) -> Callable[[Tensor], list[Tensor]]:
    """The features of the discriminator after `play.unrolled_steps` steps on (references, fakes),
    differentiable by the fakes; Metz et al. 2017 (Unrolled GAN), eq. 7-9.

    A step is as long as one of Adam's: each tensor's gradient is divided by its root mean square.
    The discriminator itself is left as it is.
    """
    network = _Features(discriminator)
    weights = {name: p.detach().requires_grad_() for name, p in network.named_parameters()}
    references, fakes = images

    def features(shown: Tensor) -> list[Tensor]:
        found: list[Tensor] = functional_call(network, weights, (shown,))
        return found

    for _ in range(play.unrolled_steps):
        real, fake = features(references)[-1], features(fakes)[-1]
        loss = ADVERSARIAL[play.loss].discriminator(real.float(), fake.float())
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {
            name: weight - learning_rate * gradient / (gradient.square().mean() + EPSILON**2).sqrt()
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
    return features


class _Features(nn.Module):
    """A discriminator whose call gives its features, as `functional_call` needs it."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.discriminator.features(images)
