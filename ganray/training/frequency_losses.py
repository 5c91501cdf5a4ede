"""Distances between a restoration y and its reference x by frequency, beside their formulas.

Images (B,C,H,W) in 0-1, any number of bands. Both losses are zero, with a gradient of zero, where
the two are equal. They look at the error alone, which suffices: both transforms are linear.
"""

import torch
from torch import Tensor

WAVELET_LEVELS = 2
SMALLEST_PEAK = 1e-12


def focal_frequency(restored: Tensor, reference: Tensor) -> Tensor:
    """mean w·|F(y) − F(x)|², w = |F(y) − F(x)| / its largest; Jiang et al. 2021, section 3.

    F is the orthonormal Fourier transform of each band, α = 1; the weights w, of each band of
    each sample, are constants to the gradient.
    """
    spectrum = torch.fft.fft2(restored.float() - reference.float(), norm="ortho")
    squares = spectrum.real**2 + spectrum.imag**2
    weights = squares.detach().sqrt()
    peaks = weights.amax(dim=(-2, -1), keepdim=True).clamp(min=SMALLEST_PEAK)
    loss: Tensor = (weights / peaks * squares).mean()
    return loss


def wavelet(restored: Tensor, reference: Tensor) -> Tensor:
    """mean |W(y) − W(x)| over the details W of a stationary Haar transform at two levels.

    After Korkmaz et al. 2024 (CVPR, WGSR), who weigh subbands of the stationary transform with
    longer wavelets. The coarse subband is left to the pixel loss, and borders are left out.
    """
    coarse = restored.float() - reference.float()
    total = coarse.new_zeros(())
    for level in range(WAVELET_LEVELS):
        coarse, details = _haar(coarse, 2**level)
        total = total + sum(detail.abs().mean() for detail in details)
    return total / (3 * WAVELET_LEVELS)


def _haar(images: Tensor, shift: int) -> tuple[Tensor, list[Tensor]]:
    """The coarse and the three detail subbands of one level, à trous, in orthonormal scale / 2."""
    low, high = _halves(images, -1, shift)
    coarse, vertical = _halves(low, -2, shift)
    return coarse, [vertical, *_halves(high, -2, shift)]


def _halves(images: Tensor, axis: int, shift: int) -> tuple[Tensor, Tensor]:
    size = images.shape[axis] - shift
    here, there = images.narrow(axis, 0, size), images.narrow(axis, shift, size)
    return (here + there) / 2, (here - there) / 2
