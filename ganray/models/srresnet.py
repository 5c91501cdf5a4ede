"""The SRResNet generator of SRGAN: residual blocks with batch normalisation.

After Ledig et al. 2017, in the variants of leftthomas/SRGAN: the trunk ends with batch
normalisation, or in its older checkpoints with a PReLU.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.config import Section
from ganray.models.layout import Layout

OUTER_KERNEL = 9


class SRResNetConfig(Section):
    """Shape of an SRResNet generator."""

    bands: Annotated[int, Field(ge=1)] = 3
    """Bands of input and output."""
    num_features: Annotated[int, Field(ge=1)] = 64
    """Channels of every hidden convolution."""
    num_blocks: Annotated[int, Field(ge=0)] = 5
    """Residual blocks of two convolutions."""
    scale: Literal[1, 2, 4, 8] = 4
    """Magnification: 1, 2, 4 or 8."""
    trunk_end: Literal["batch_norm", "prelu"] = "batch_norm"
    """What follows the convolution after the residual blocks."""


class SRResNet(nn.Module):
    """Degraded (B,C,H,W) in 0-1 to restored (B,C,scale·H,scale·W) in 0-1."""

    def __init__(self, config: SRResNetConfig) -> None:
        super().__init__()
        self.config = config
        features = config.num_features
        self.first = nn.Sequential(_outer_conv(config.bands, features), nn.PReLU())
        self.blocks = nn.ModuleList(ResidualBlock(features) for _ in range(config.num_blocks))
        end = nn.PReLU() if config.trunk_end == "prelu" else nn.BatchNorm2d(features)
        self.trunk = nn.Sequential(_conv(features, features), end)
        self.up = nn.ModuleList(Upsampling(features) for _ in range(int(math.log2(config.scale))))
        self.last = _outer_conv(features, config.bands)

    @property
    def layout(self) -> Layout:
        return Layout("first.0", "last", self.config.bands, widens=True)

    def forward(self, degraded_BCHW: Tensor) -> Tensor:
        first = self.first(degraded_BCHW)
        features = first
        for block in self.blocks:
            features = block(features)
        features = first + self.trunk(features)
        for upsampling in self.up:
            features = upsampling(features)
        return (torch.tanh(self.last(features)) + 1) / 2


class ResidualBlock(nn.Module):
    """Two normalised convolutions (B,features,H,W), added to the input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, features)
        self.bn1 = nn.BatchNorm2d(features)
        self.prelu = nn.PReLU()
        self.conv2 = _conv(features, features)
        self.bn2 = nn.BatchNorm2d(features)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        hidden = self.prelu(self.bn1(self.conv1(features_BCHW)))
        result: Tensor = self.bn2(self.conv2(hidden))
        return features_BCHW + result


class Upsampling(nn.Module):
    """Features (B,features,H,W) to (B,features,2·H,2·W)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = _conv(features, 4 * features)
        self.prelu = nn.PReLU()

    def forward(self, features_BCHW: Tensor) -> Tensor:
        magnified: Tensor = self.prelu(F.pixel_shuffle(self.conv(features_BCHW), 2))
        return magnified


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def _outer_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, OUTER_KERNEL, padding=OUTER_KERNEL // 2)
