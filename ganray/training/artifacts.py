"""Locally discriminative learning: where a restoration is an artifact, it is told so.

After Liang et al. 2022 (CVPR, "Details or Artifacts"). Images (B,C,H,W) in 0-1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW_PIXELS = 7
PATCH_POWER = 1 / 5


def ldl(restored: Tensor, reference: Tensor, restored_ema: Tensor) -> Tensor:
    """mean M·|x − y|, the artifact loss of Liang et al. 2022, section 3."""
    weights_B1HW = artifact_map(restored, reference, restored_ema)
    return (weights_B1HW * (reference.float() - restored.float()).abs()).mean()


@torch.no_grad()
def artifact_map(restored: Tensor, reference: Tensor, restored_ema: Tensor) -> Tensor:
    """M (B,1,H,W): var(R)^(1/5) · var₇ₓ₇(R), and 0 where |R| is below that of the average.

    R = Σ|x − y| over the bands, the residual of a restoration by the generator, compared with
    that by its moving average, which is calmer; Liang et al. 2022, section 3. A constant to
    the gradient: the power would have one without bound where nothing is wrong.
    """
    residual = _residual(restored, reference)
    calm = _residual(restored_ema, reference)
    patch_B111 = residual.var(dim=(1, 2, 3), keepdim=True) ** PATCH_POWER
    return torch.where(residual < calm, 0, patch_B111 * _local_variance(residual))


def _residual(restored: Tensor, reference: Tensor) -> Tensor:
    return (reference.float() - restored.float()).abs().sum(1, keepdim=True)


def _local_variance(images: Tensor) -> Tensor:
    """The unbiased variance of every 7×7 neighbourhood, with mirrored borders."""
    padded = F.pad(images, [WINDOW_PIXELS // 2] * 4, mode="reflect")
    mean = F.avg_pool2d(padded, WINDOW_PIXELS, stride=1)
    mean_square = F.avg_pool2d(padded.square(), WINDOW_PIXELS, stride=1)
    count = WINDOW_PIXELS**2
    return (mean_square - mean.square()).clamp(min=0) * (count / (count - 1))
