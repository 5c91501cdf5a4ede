"""Convolution of each image of a batch with a kernel of its own, by FFT.

A kernel of 21x21 costs the same as one of 3x3, and a whole scan needs a few times its own
memory, where an unfolded convolution would need hundreds.
"""

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

# Above it bands are convolved one after another.
MOST_VALUES_AT_ONCE = 2**24


def convolve(pixels_BCHW: Tensor, kernels_BKK: Tensor) -> Tensor:
    """Every image with its kernel of odd side; borders are reflected, or repeated if too small."""
    if pixels_BCHW.numel() > MOST_VALUES_AT_ONCE and pixels_BCHW.shape[1] > 1:
        bands = [convolve(band, kernels_BKK) for band in pixels_BCHW.split(1, dim=1)]
        return torch.cat(bands, dim=1)
    height, width = pixels_BCHW.shape[-2:]
    side = kernels_BKK.shape[-1]
    radius = side // 2
    mode = "reflect" if radius < min(height, width) else "replicate"
    padded = F.pad(pixels_BCHW, (radius,) * 4, mode=mode)
    # Circular convolution of what is padded is exact where no kernel reaches around.
    size = [next_fast_len(length, real=True) for length in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(padded, s=size)
    del padded
    spectrum *= torch.fft.rfft2(kernels_BKK, s=size)[:, None]
    around: Tensor = torch.fft.irfft2(spectrum, s=size)
    begin = side - 1
    return around[..., begin : begin + height, begin : begin + width]


def grid(radius: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Distances down and to the right of the centre of a kernel, (1,K,1) and (1,1,K)."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    return offsets[None, :, None], offsets[None, None, :]


def normalised(kernels_BKK: Tensor) -> Tensor:
    """With a sum of one: brightness stays."""
    return kernels_BKK / kernels_BKK.sum((-2, -1), keepdim=True)
