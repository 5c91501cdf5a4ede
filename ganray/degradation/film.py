"""What film and video cameras do to each frame: flicker, grain, interlaced fields."""

from typing import Literal

import torch
from torch import Tensor

from ganray.degradation.convolution import convolve, grid, normalised
from ganray.degradation.draws import (
    ChanceStep,
    CountRange,
    Draws,
    PositiveRange,
    Probability,
    Range,
)

MOST_GRAIN_RADIUS = 8


class Flicker(ChanceStep):
    """Another brightness in every frame."""

    kind: Literal["flicker"]
    gain: PositiveRange = (0.8, 1.15)
    """Range of the factor."""
    gamma: PositiveRange = (0.8, 1.25)
    """Range of the exponent."""


class Grain(ChanceStep):
    """Grain of film: clumps of more than a pixel, most in middle tones."""

    kind: Literal["grain"]
    sigma: Range
    """Range of the standard deviation at half brightness, for pixels in 0-1."""
    size: PositiveRange = (0.4, 1.0)
    """Range of the size of clumps: the deviation of a Gaussian, in pixels of the degraded image;
    a clump ends 8 pixels of the reference from its middle."""
    gray_probability: Probability = 0.5
    """How often the grain is the same in all bands, as on black and white film."""


class Interlace(ChanceStep):
    """Two fields taken at two moments: every other row is displaced sideways."""

    kind: Literal["interlace"]
    shift: CountRange = (1, 4)
    """Range of the displacement in pixels, to either side."""


def flicker(pixels_BCHW: Tensor, step: Flicker, draws: Draws) -> Tensor:
    """y = gain·x^gamma; van Roosmalen 1999, "Restoration of archived film and video", chapter 3."""
    gain, gamma = draws.uniform(step.gain), draws.uniform(step.gamma)
    return pixels_BCHW.clamp(0, 1).pow(gamma).mul_(gain).clamp_(0, 1)


def grain(pixels_BCHW: Tensor, step: Grain, draws: Draws, zoom: float) -> Tensor:
    """y = x + 2σ·√(x(1−x))·n, with n normal noise smoothed by a Gaussian and of deviation 1.

    The variance is that of a layer of opaque grains that covers a part x of the area: Newson et
    al. 2017, "A stochastic film grain model", section 2.
    """
    sigma, size = draws.uniform(step.sigma), draws.uniform(step.size) * zoom
    radius = min(MOST_GRAIN_RADIUS, max(1, round(3 * step.size[1] * zoom)))
    down, right = grid(radius, draws.device)
    kernels = normalised(torch.exp(-(down**2 + right**2) / (2 * size[:, 0] ** 2)))
    kernels = kernels / kernels.square().sum((-2, -1), keepdim=True).sqrt()
    _, bands, height, width = pixels_BCHW.shape
    noise = convolve(draws.normal((bands, height, width), step.gray_probability), kernels)
    x = pixels_BCHW.clamp(0, 1)
    return (x + 2 * sigma * (x * (1 - x)).sqrt() * noise).clamp_(0, 1)


def interlace(pixels_BCHW: Tensor, step: Interlace, draws: Draws) -> Tensor:
    """Move the odd rows; de Haan and Bellers 1998, "Deinterlacing: an overview", figure 1."""
    sides = draws.choose((-1, 1))
    shifts = [side * by for side, by in zip(sides, draws.whole(step.shift), strict=True)]
    odd = pixels_BCHW[:, :, 1::2]
    width = odd.shape[-1]
    places = torch.arange(width, device=draws.device) + draws.tensor(shifts).long()
    moved = odd.gather(3, places.clamp(0, width - 1).expand(odd.shape))
    result = pixels_BCHW.clone()
    result[:, :, 1::2] = moved
    return result
