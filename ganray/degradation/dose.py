"""Noise of computed tomography at a low dose."""

from typing import Literal

import torch
from torch import Tensor

from ganray.degradation.convolution import convolve, grid, normalised
from ganray.degradation.draws import ChanceStep, Draws, PositiveRange, Range

# Attenuation is gathered over about this many pixels of the degraded image.
PATH_SIGMA = 12.0
PATH_RADIUS = 32


class LowDose(ChanceStep):
    """Noise of few X-ray photons, as filtered back-projection leaves it in slices."""

    kind: Literal["low_dose"]
    sigma: Range
    """Range of the standard deviation where nothing attenuates, for pixels in 0-1."""
    attenuation: Range = (0.5, 2.5)
    """Range of the line integral through surroundings of value 1."""
    cutoff: PositiveRange = (0.5, 1.0)
    """Range of the reconstruction filter's cutoff, as a part of the highest frequency."""
    streaks: PositiveRange = (1.0, 2.5)
    """Range of how much longer than wide the noise is: more behind shoulders and hips."""


def low_dose(pixels_BCHW: Tensor, step: LowDose, draws: Draws, zoom: float) -> Tensor:
    """y = x + σ·exp(a·x̄/2)·n, an approximation without projections.

    The variance of a measured line integral p is exp(p)/N₀ (Poisson in the log domain; Whiting et
    al. 2006, "Properties of preprocessed sinogram data in x-ray computed tomography"); p is taken
    as a·x̄ with x̄ the mean of the surroundings. n has the power spectrum f·exp(−(f/f_c)²) that
    back-projection with a ramp filter gives it (Riederer et al. 1978, "The noise power spectrum in
    computed X-ray tomography"), stretched along a direction for streaks.
    """
    sigma, attenuation = draws.uniform(step.sigma), draws.uniform(step.attenuation)
    _, bands, height, width = pixels_BCHW.shape
    noise = _shaped(draws.normal((bands, height, width)), step, draws, zoom)
    down, right = grid(min(PATH_RADIUS, round(PATH_SIGMA * zoom * 2)), draws.device)
    kernels = normalised(torch.exp(-(down**2 + right**2) / (2 * (PATH_SIGMA * zoom) ** 2)))
    around = convolve(pixels_BCHW, kernels.expand(len(draws), -1, -1))
    return (pixels_BCHW + sigma * torch.exp(attenuation * around / 2) * noise).clamp_(0, 1)


def _shaped(noise_BCHW: Tensor, step: LowDose, draws: Draws, zoom: float) -> Tensor:
    """White noise of deviation one, given a reconstruction's spectrum and the same deviation."""
    height, width = noise_BCHW.shape[-2:]
    cutoff = draws.uniform(step.cutoff) / 2
    stretch = draws.uniform(step.streaks)
    angle = draws.uniform((0, torch.pi))
    down = torch.fft.fftfreq(height, device=draws.device)[:, None] * zoom
    right = torch.fft.rfftfreq(width, device=draws.device) * zoom
    along = (right * angle.cos() + down * angle.sin()) * stretch
    across = down * angle.cos() - right * angle.sin()
    frequency = torch.hypot(along, across)
    amplitude = frequency.sqrt() * torch.exp(-((frequency / cutoff) ** 2) / 2)
    # The right half of the spectrum stands for the left one too, but for its first column.
    twice = torch.full_like(right, 2.0)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    power = (amplitude.square() * twice).sum((-2, -1), keepdim=True) / (height * width)
    spectrum = torch.fft.rfft2(noise_BCHW) * (amplitude / power.sqrt())
    shaped: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
    return shaped
