"""Distances between a restoration y and its reference x, pixel by pixel, beside their formulas.

Images (B,C,H,W) in 0-1, any number of bands; each is differentiable, and its gradient is finite
where the two are equal.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

CHARBONNIER_EPSILON = 1e-3

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SSIM_WINDOW_PIXELS = 11
SSIM_SIGMA = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
LEAST_SIMILARITY = 1e-4
"""Below it a power with a small exponent would have a gradient without bound."""


def l1(restored: Tensor, reference: Tensor) -> Tensor:
    """mean |y − x|."""
    return F.l1_loss(restored, reference)


def charbonnier(restored: Tensor, reference: Tensor) -> Tensor:
    """mean sqrt((y − x)² + ε²), Lai et al. 2017 (LapSRN), eq. 1."""
    return torch.sqrt((restored - reference) ** 2 + CHARBONNIER_EPSILON**2).mean()


PIXEL = {"l1": l1, "charbonnier": charbonnier}


def ms_ssim_loss(restored: Tensor, reference: Tensor) -> Tensor:
    """1 − MS-SSIM, of each band, averaged; Wang et al. 2003, eq. 7.

    A patch that is too small for five scales (176 pixels) has the fine ones that fit, with
    weights of the same sum; below 11 pixels the window shrinks too.
    """
    images = torch.stack([restored, reference]).float().flatten(1, 2)
    weights = _scale_weights(min(images.shape[-2:]))
    product = images.new_ones(images.shape[1])
    for scale, weight in enumerate(weights):
        luminance_N, contrast_N = _similarities(images)
        last = scale == len(weights) - 1
        term_N = luminance_N if last else contrast_N
        product = product * term_N.clamp(min=LEAST_SIMILARITY) ** weight
        if not last:
            images = F.avg_pool2d(images, 2)
    return 1 - product.mean()


def _scale_weights(side: int) -> Sequence[float]:
    """The weights of the scales at which the window fits into a side, of the sum of all five."""
    fitting = [w for i, w in enumerate(MS_SSIM_WEIGHTS) if side >> i >= SSIM_WINDOW_PIXELS]
    kept = fitting or MS_SSIM_WEIGHTS[:1]
    whole = sum(MS_SSIM_WEIGHTS) / sum(kept)
    return [weight * whole for weight in kept]


def _similarities(images_2NHW: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM (Wang et al. 2004, eq. 13) and its contrast-structure part, each a mean (N,)."""
    # Variances do not change by a shift, but lose digits where they are small beside the means.
    centre = images_2NHW[1].mean(dim=(1, 2), keepdim=True).detach()
    y, x = images_2NHW - centre
    moments = _blur(torch.cat([y, x, y * y, x * x, y * x]))
    mean_y, mean_x, mean_yy, mean_xx, mean_yx = moments.chunk(5)
    variances = mean_yy - mean_y**2 + mean_xx - mean_x**2
    contrast = (2 * (mean_yx - mean_y * mean_x) + SSIM_C2) / (variances + SSIM_C2)
    mean_y, mean_x = mean_y + centre, mean_x + centre
    luminance = (2 * mean_y * mean_x + SSIM_C1) / (mean_y**2 + mean_x**2 + SSIM_C1)
    return (luminance * contrast).mean(dim=(1, 2)), contrast.mean(dim=(1, 2))


def _blur(images_NHW: Tensor) -> Tensor:
    """Over whole windows only: what hangs over the border is left out, as in the paper.

    By two matrices: a convolution of one channel is ten times slower on a CPU.
    """
    height, width = images_NHW.shape[1:]
    size = min(SSIM_WINDOW_PIXELS, height, width)
    return _blurring(height, size, images_NHW).mT @ images_NHW @ _blurring(width, size, images_NHW)


def _blurring(side: int, size: int, like: Tensor) -> Tensor:
    """The matrix (side, side − size + 1) whose columns are a normalised Gaussian window, moved."""
    offsets = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    every_pixel = torch.eye(side, dtype=like.dtype, device=like.device)[:, None]
    return F.conv1d(every_pixel, (window / window.sum())[None, None])[:, 0]
