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
from ganray.models.layout import Layout


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
    mask: bool = False
    """Takes a mask of lost pixels (1 where lost) as a further input channel."""


class CompactGenerator(nn.Module):
    """Degraded (B,C,H,W) in 0-1, with a mask (B,C+1,H,W), to restored (B,C,scale·H,scale·W), not
    clamped."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [_conv(config.bands + config.mask, config.num_features)]
        layers.append(nn.PReLU(config.num_features))
        for _ in range(config.num_convs):
            layers.append(_conv(config.num_features, config.num_features))
            layers.append(nn.PReLU(config.num_features))
        layers.append(_conv(config.num_features, config.bands * config.scale**2))
        self.body = nn.ModuleList(layers)

    @property
    def layout(self) -> Layout:
        config, last = self.config, f"body.{len(self.body) - 1}"
        return Layout(
            "body.0", last, config.bands, mask=config.mask, phases=config.scale, widens=True
        )

    def forward(self, degraded_BCHW: Tensor) -> Tensor:
        features = degraded_BCHW
        for layer in self.body:
            features = layer(features)
        scale = self.config.scale
        shown = degraded_BCHW[:, : self.config.bands]
        if scale == 1:
            return features + shown
        residual = F.pixel_shuffle(features, scale)
        return residual + F.interpolate(shown, scale_factor=scale, mode="nearest")


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    # Fan-in initialisation for PReLU's starting slope, so that depth does not damp the signal.
    nn.init.kaiming_normal_(conv.weight, a=0.25, nonlinearity="leaky_relu")
    assert conv.bias is not None
    torch.nn.init.zeros_(conv.bias)
    return conv
