"""The compact generator: convolutions at input resolution, one pixel shuffle at the end.

Layout of SRVGGNetCompact (Real-ESRGAN): `body.0`, then `num_convs` times convolution and
PReLU, then a convolution to scale² times the bands; the nearest-upsampled input is added.
Its published checkpoints fit tensor by tensor.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.config import Section


class CompactConfig(Section):
    """Shape of a compact generator."""

    bands: Annotated[int, Field(ge=1)] = 3
    """Bands of input and output."""
    num_features: Annotated[int, Field(ge=1)] = 32
    """Channels of every hidden convolution."""
    num_convs: Annotated[int, Field(ge=0)] = 8
    """Hidden convolutions after the first."""
    scale: Literal[1, 2, 3, 4] = 2
    """Magnification: 1, 2, 3 or 4."""


class CompactGenerator(nn.Module):
    """Degraded (B,C,H,W) in 0-1 to restored (B,C,scale·H,scale·W), not clamped."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.scale = config.scale
        layers: list[nn.Module] = [_conv(config.bands, config.num_features)]
        layers.append(nn.PReLU(config.num_features))
        for _ in range(config.num_convs):
            layers.append(_conv(config.num_features, config.num_features))
            layers.append(nn.PReLU(config.num_features))
        layers.append(_conv(config.num_features, config.bands * config.scale**2))
        self.body = nn.ModuleList(layers)

    def forward(self, degraded_BCHW: Tensor) -> Tensor:
        features = degraded_BCHW
        for layer in self.body:
            features = layer(features)
        if self.scale == 1:
            return features + degraded_BCHW
        residual = F.pixel_shuffle(features, self.scale)
        return residual + F.interpolate(degraded_BCHW, scale_factor=self.scale, mode="nearest")


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    # Fan-in initialisation for PReLU's starting slope, so that depth does not damp the signal.
    nn.init.kaiming_normal_(conv.weight, a=0.25, nonlinearity="leaky_relu")
    assert conv.bias is not None
    torch.nn.init.zeros_(conv.bias)
    return conv
