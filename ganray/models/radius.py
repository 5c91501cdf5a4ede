"""The receptive-field radius of a generator, measured from the network itself."""

import copy

import torch
from torch import Tensor, nn

from ganray.errors import CheckpointError

LARGEST_RADIUS = 1024


def measure_radius(generator: nn.Module, *, bands: int, scale: int) -> int:
    """How far, in input pixels, a change of one input pixel can reach in the output.

    The gradient of one input pixel's output block is followed back to the input, along a
    strip that grows until the gradient ends inside it. Weights are replaced by equal positive
    ones, so that no path cancels and none is lost in rounding. Raises CheckpointError beyond
    LARGEST_RADIUS (attention, global pooling): such a generator has no finite halo.
    """
    probe = _positive_copy(generator)
    side = 32
    while side <= 2 * LARGEST_RADIUS:
        radius = max(
            _extent(probe, torch.zeros(1, bands, 1, side, dtype=torch.float64), scale),
            _extent(probe, torch.zeros(1, bands, side, 1, dtype=torch.float64), scale),
        )
        if radius < side // 2 - 1:
            return radius
        side *= 2
    raise CheckpointError(
        f"the generator's receptive field reaches beyond {LARGEST_RADIUS} pixels; expected a "
        "convolutional generator with a finite one"
    )


def _positive_copy(generator: nn.Module) -> nn.Module:
    probe = copy.deepcopy(generator).double().eval()
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter.fill_(1.0 / max(1, parameter[0].numel()))
    return probe


def _extent(probe: nn.Module, strip: Tensor, scale: int) -> int:
    strip = strip + 1.0
    strip.requires_grad_()
    output = probe(strip)
    axis = 2 if strip.shape[2] > 1 else 3
    centre = strip.shape[axis] // 2
    block = output.narrow(axis, centre * scale, scale).sum()
    (gradient,) = torch.autograd.grad(block, strip)
    reached = gradient.abs().sum(dim=tuple(i for i in range(4) if i != axis)).nonzero()
    return int((reached - centre).abs().max())
