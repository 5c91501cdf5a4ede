"""Penalties of the discriminator's gradient by its input, each beside its formula.

A discriminator gives N logits per sample. The gradient of their mean shrinks with 1/√N, and the
factors N and √N here undo that, so that a weight means the same for every patch size; with one
logit per sample the formulas are the papers'. All is computed in float32 whatever the autocast,
for the sake of second derivatives (on CUDA convolutions may multiply in TF32, as torch is set), and
for inputs of any shape (B, …).
"""

import math

import torch
from torch import Tensor, nn


def zero_centred_penalty(discriminator: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The logits D(x) and N·E‖∇ₓ mean D(x)‖²; Mescheder et al. 2018, eq. 9: R1 on x, R2 on y."""
    logits, gradients_BD = _gradients(discriminator, images)
    return logits, _num_logits(logits) * gradients_BD.square().sum(1).mean()


def wasserstein_penalty(
    discriminator: nn.Module, references: Tensor, restored: Tensor, mix_B: Tensor
) -> Tensor:
    """E(√N·‖∇ mean D(x̂)‖ − 1)² at x̂ = mix·x + (1 − mix)·y; Gulrajani et al. 2017, eq. 3.

    `mix_B` are numbers uniform in 0-1, one per sample. The norm is that of a whole sample.
    """
    mix = mix_B.to(references).view(-1, *[1] * (references.dim() - 1))
    between = torch.lerp(restored.detach().float(), references.detach().float(), mix.float())
    logits, gradients_BD = _gradients(discriminator, between)
    norms_B = torch.linalg.vector_norm(gradients_BD, dim=1) * math.sqrt(_num_logits(logits))
    penalty: Tensor = (norms_B - 1).square().mean()
    return penalty


def _gradients(discriminator: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The logits, and per sample the gradient (B,D) of their mean, itself differentiable."""
    with torch.autocast(images.device.type, enabled=False):
        images = images.detach().float().requires_grad_()
        logits: Tensor = discriminator(images)
        means = logits.flatten(1).mean(1).sum()
        (gradients,) = torch.autograd.grad(means, images, create_graph=True)
    return logits, gradients.flatten(1)


def _num_logits(logits: Tensor) -> int:
    return logits[0].numel()
