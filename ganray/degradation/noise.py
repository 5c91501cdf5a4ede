"""Noise of sensors: even, by the number of photons, and multiplied."""

from typing import Literal

from torch import Tensor

from ganray.degradation.draws import ChanceStep, Draws, Probability, Range


class Noise(ChanceStep):
    """Additive Gaussian noise."""

    kind: Literal["noise"]
    sigma: Range
    """Range of the standard deviation, for pixels in 0-1."""
    gray_probability: Probability = 0.0
    """How often the noise is the same in all bands."""


class Shot(ChanceStep):
    """Noise of counted photons, whose variance grows with brightness."""

    kind: Literal["shot"]
    sigma: Range
    """Range of the standard deviation where pixels are 1; at brightness x it is √x of that."""
    gray_probability: Probability = 0.0
    """How often the noise is the same in all bands."""


class Speckle(ChanceStep):
    """Noise that multiplies pixels, as coherent sensors (radar, ultrasound) have it."""

    kind: Literal["speckle"]
    sigma: Range
    """Range of the standard deviation, as a part of the pixel."""
    gray_probability: Probability = 0.0
    """How often the noise is the same in all bands."""


def add_noise(pixels_BCHW: Tensor, step: Noise | Shot | Speckle, draws: Draws) -> Tensor:
    """y = x + σ·w(x)·n, n normal, w = 1, √x or x; cut to 0-1.

    Shot noise is the Gaussian limit of Poisson's, close from ten photons on: Foi et al. 2008,
    "Practical Poissonian-Gaussian noise modeling", equation 2. Speckle: Lee 1980, "Digital image
    enhancement and noise filtering by use of local statistics", equation 12.
    """
    sigma = draws.uniform(step.sigma)
    _, *shape = pixels_BCHW.shape
    noise = draws.normal((shape[0], shape[1], shape[2]), step.gray_probability).mul_(sigma)
    match step:
        case Shot():
            noise *= pixels_BCHW.clamp(min=0).sqrt()
        case Speckle():
            noise *= pixels_BCHW
        case _:
            pass
    return noise.add_(pixels_BCHW).clamp_(0, 1)
