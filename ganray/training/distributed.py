"""Averages over the workers of a process group: one flat all-reduce each.

Equal to DistributedDataParallel, and simpler: there is no wrapper whose hooks would have to
be taught about penalties, second derivatives and two networks.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def average_gradients(parameters: Iterable[nn.Parameter], *, weight: float) -> None:
    """Replace gradients by Σ weight·gradient over all workers.

    `weight` is this worker's share of the global batch, so that uneven shares average right.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]) * weight
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def average_values(losses: dict[str, Tensor], *, weight: float) -> dict[str, float]:
    """Σ weight·value over all workers."""
    flat = torch.stack([value.float() for value in losses.values()]) * weight
    dist.all_reduce(flat)
    return dict(zip(losses, flat.tolist(), strict=True))
