"""The receptive-field radius of a generator, measured from the network itself."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ganray.errors import CheckpointError

LARGEST_RADIUS = 2048
# Generators that work on blocks of pixels see further from one pixel of a block than from
# another; all that is known repeats within so many pixels.
NUM_POSITIONS = 16
# Small, so that no activation saturates.
PINNED = 1e-3


def measure_radius(
    generator: nn.Module, *, bands: int, scale: int, num_positions: int = NUM_POSITIONS
) -> int:
    """How far, in input pixels, a change of one input pixel can reach in the output.

    The gradient of one input pixel's output block is followed back to the input, along a
    strip that grows until the gradient ends inside it, from pixels at each of `num_positions`
    positions within a block. Weights are replaced by equal positive ones, every layer's values
    and gradient by small positive ones, so that no path cancels, saturates, or is lost in
    rounding. Raises CheckpointError beyond LARGEST_RADIUS (attention, global pooling): such a
    generator has no finite halo.
    """
    probe = _positive_copy(generator)
    side = 4 * NUM_POSITIONS
    while side <= 2 * LARGEST_RADIUS:
        lengths = ((side, 1), (1, side))
        strips = [torch.full((1, bands, *length), PINNED) for length in lengths]
        radius = max(_extent(probe, strip, scale, num_positions) for strip in strips)
        if radius < side // 2 - num_positions:
            return radius
        side *= 2
    raise CheckpointError(
        f"the generator's receptive field reaches beyond {LARGEST_RADIUS} pixels; expected a "
        "convolutional generator with a finite one"
    )


def _positive_copy(generator: nn.Module) -> nn.Module:
    probe = copy.deepcopy(generator).cpu().float().eval()
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter.fill_(1.0 / parameter.shape[1:].numel())
    for module in probe.modules():
        if not any(module.children()):
            module.register_forward_hook(_pin_output)
    return probe


def _pin_output(module: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, Tensor) and output.is_floating_point():
        return _Pin.apply(output)  # type: ignore[no-untyped-call, unused-ignore]
    return output


class _Pin(torch.autograd.Function):
    """Keeps which values depend on which, and forgets how strongly."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        # Of different sizes; equal ones would cancel in a normalisation.
        rng = torch.Generator().manual_seed(0)
        ctx.pinned = PINNED * (0.5 + torch.rand(values.shape, generator=rng, dtype=values.dtype))
        pinned: Tensor = ctx.pinned.clone()
        return pinned

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        kept: Tensor = (gradient != 0) * ctx.pinned
        return kept


def _extent(probe: nn.Module, strip: Tensor, scale: int, num_positions: int) -> int:
    """The largest reach of neighbouring pixels along a strip."""
    strip.requires_grad_()
    output = probe(strip)
    axis = 2 if strip.shape[2] > 1 else 3
    side = strip.shape[axis]
    largest = 0
    for pixel in range(side // 2, side // 2 + num_positions):
        block = output.narrow(axis, pixel * scale, scale).sum()
        (gradient,) = torch.autograd.grad(block, strip, retain_graph=True)
        reached = gradient.abs().sum(dim=tuple(i for i in range(4) if i != axis)).nonzero()
        largest = max(largest, int((reached - pixel).abs().max()))
        if largest >= side // 2 - num_positions:
            return largest
    return largest
