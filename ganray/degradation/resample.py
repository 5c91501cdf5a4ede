"""Antialiased resampling in torch: the reduction to 1/scale, and random sizes on the way.

The kernels are those of `ganray.raster.resample`, which are Pillow's: bicubic has a = -0.5,
and all of them widen when they shrink an image.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ganray.config import Section
from ganray.degradation.draws import ChanceStep, PositiveRange, Stream

KernelName = Literal["area", "bilinear", "bicubic", "lanczos"]
Size = tuple[int, int]
Kernels = Annotated[tuple[KernelName, ...], Field(min_length=1)]

# Outputs along an axis that one matrix product makes; a whole scan's matrix would be mostly zeros.
OUTPUTS_PER_BLOCK = 256
SMALLEST_SIDE = 4


class Resample(Section):
    """The reduction to 1/scale of the reference, by one of `kernels`, drawn evenly."""

    kind: Literal["resample"]
    kernels: Kernels = ("bicubic",)
    """Kernels to draw from: area, bilinear, bicubic or lanczos."""


class Rescale(ChanceStep):
    """A random size on the way, as an image has that went through several programs."""

    kind: Literal["rescale"]
    factor: PositiveRange
    """Range of the size as a multiple of the degraded image's; never beyond the reference's."""
    kernels: Kernels = ("area", "bilinear", "bicubic")
    """Kernels to draw from."""


def rescaled_size(
    step: Rescale, stream: Stream, position: int, target: Size, most: Size
) -> Size | None:
    """The size that `step`, at `position` in its recipe, gives a sample; None if it is left out.

    `most` is that of its reference. Neighbours share it (Stream.shared_rng), and it is even in
    the factor's logarithm.
    """
    rng = stream.shared_rng(position)
    if rng.random() >= step.probability:
        return None
    low, high = step.factor
    factor = low * (high / low) ** rng.random()
    height, width = (
        min(limit, max(SMALLEST_SIDE, round(length * factor)))
        for length, limit in zip(target, most, strict=True)
    )
    return height, width


def resample(
    pixels_BCHW: Tensor, kernels: Sequence[KernelName], size: Size, *, is_mask: bool = False
) -> Tensor:
    """Bring every image to `size` by a kernel of its own, cut to 0-1.

    A mask's pixel becomes the share that lost ones have in the weights of the image's.
    """
    if len(set(kernels)) == 1:
        return resize(pixels_BCHW, size, kernels[0], is_mask=is_mask).clamp_(0, 1)
    resized = pixels_BCHW.new_empty((*pixels_BCHW.shape[:2], *size))
    for name in sorted(set(kernels)):
        chosen = [position for position, other in enumerate(kernels) if other == name]
        resized[chosen] = resize(pixels_BCHW[chosen], size, name, is_mask=is_mask)
    return resized.clamp_(0, 1)


def resize(pixels_BCHW: Tensor, size: Size, kernel: KernelName, *, is_mask: bool = False) -> Tensor:
    """Resize to (height, width); values may overshoot 0-1, as the kernel does, but for masks'."""
    shorter = _along(pixels_BCHW, -1, size[1], (kernel, is_mask))
    return _along(shorter, -2, size[0], (kernel, is_mask))


def _along(pixels: Tensor, axis: int, length: int, kernel: tuple[KernelName, bool]) -> Tensor:
    """Resize one axis, by a matrix product for each block of outputs."""
    before = pixels.shape[axis]
    if before == length:
        return pixels
    parts = []
    for begin in range(0, length, OUTPUTS_PER_BLOCK):
        end = min(begin + OUTPUTS_PER_BLOCK, length)
        low, weights = _weights(before, length, (begin, end), kernel, pixels.device)
        piece = pixels.narrow(axis, low, weights.shape[1])
        parts.append(piece @ weights.T if axis == -1 else weights @ piece)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=axis)


# Of a megabyte at most, on the device.
@lru_cache(maxsize=32)
def _weights(
    before: int,
    after: int,
    block: tuple[int, int],
    kernel: tuple[KernelName, bool],
    device: torch.device,
) -> tuple[int, Tensor]:
    """The first input that a block of outputs needs, and the weights (outputs, inputs).

    A mask's are those of the kernel without their sign: negative ones mix too.
    """
    shrinking = max(1.0, before / after)
    name, is_mask = kernel
    function, reach = KERNELS[name]
    centres = (np.arange(*block) + 0.5) * (before / after)
    low = max(0, math.floor(centres[0] - reach * shrinking))
    high = min(before, math.ceil(centres[-1] + reach * shrinking))
    inputs = np.arange(low, high) + 0.5
    weights = function((inputs[None] - centres[:, None]) / shrinking)
    weights = np.abs(weights) if is_mask else weights
    weights /= weights.sum(axis=1, keepdims=True)
    return low, torch.from_numpy(weights.astype(np.float32)).to(device)


def _box(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.maximum(1 - np.abs(x), 0)
    return weights


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys 1981, "Cubic convolution interpolation", a = -0.5."""
    x = np.abs(x)
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, inner, np.where(x < 2, outer, 0))


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Duchon 1979, "Lanczos filtering in one and two dimensions", three lobes."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]
KERNELS: dict[KernelName, tuple[Kernel, float]] = {
    "area": (_box, 0.5),
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}
"""Each kernel and how far it reaches, in pixels of the smaller image."""
