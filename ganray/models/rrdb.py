"""The RRDB generator of ESRGAN and Real-ESRGAN: dense blocks within residual blocks.

After Wang et al. 2018 and 2021. Tensors have the names of BasicSR's RRDBNet, so that its
published checkpoints fit tensor by tensor.
"""

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.config import Section
from ganray.models.layout import Layout
from ganray.models.padding import pad_to

SLOPE = 0.2
RESIDUAL_WEIGHT = 0.2
NUM_DENSE_CONVS = 5
# Of He initialisation: at full size, so many residual blocks would begin with huge values.
INITIAL_GAIN = 0.1

Positive = Annotated[int, Field(ge=1)]


class RRDBConfig(Section):
    """Shape of an RRDB generator."""

    bands: Positive = 3
    """Bands of one input image and of the output."""
    in_bands: Positive = 3
    """Bands of the input: `bands`, or those of several images of one place, stacked."""
    num_features: Positive = 64
    """Channels between the blocks."""
    num_blocks: Annotated[int, Field(ge=0)] = 23
    """Residual blocks of three dense blocks each."""
    growth: Positive = 32
    """Channels that each convolution of a dense block adds."""
    scale: Literal[1, 2, 4, 8] = 4
    """Magnification: 1, 2, 4 or 8."""
    unshuffle: Literal[1, 2, 4] = 1
    """Side of the pixel blocks that become channels at the input; by default 2 at scale 2 and 4
    at scale 1, as in Real-ESRGAN."""
    mask: bool = False
    """Takes a mask of lost pixels (1 where lost) as a further input channel."""

    @model_validator(mode="before")
    @classmethod
    def _follow_bands_and_scale(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        unshuffle = {1: 4, 2: 2}.get(values.get("scale", 4), 1)
        return {"in_bands": values.get("bands", 3), "unshuffle": unshuffle} | values

    @model_validator(mode="after")
    def _takes_whole_images(self) -> "RRDBConfig":
        if self.in_bands % self.bands:
            raise ValueError(f"in_bands {self.in_bands} is no multiple of bands {self.bands}")
        return self

    @property
    def alignment(self) -> int:
        """Patches must begin at multiples of so many pixels, to be cut into the same blocks."""
        return self.unshuffle

    @property
    def num_upsamplings(self) -> int:
        return int(math.log2(self.scale * self.unshuffle))


class RRDBNet(nn.Module):
    """Degraded (B,in_bands,H,W) in 0-1, with a mask (B,in_bands+1,H,W), to restored
    (B,bands,scale·H,scale·W), not clamped.

    A generator for several images of one place takes a single one (B,bands,H,W) too, and
    repeats it.
    """

    def __init__(self, config: RRDBConfig) -> None:
        super().__init__()
        self.config = config
        features = config.num_features
        self.conv_first = _conv((config.in_bands + config.mask) * config.unshuffle**2, features)
        self.body = nn.ModuleList(
            ResidualBlock(features, config.growth) for _ in range(config.num_blocks)
        )
        self.conv_body = _conv(features, features)
        for position in range(1, config.num_upsamplings + 1):
            self.add_module(f"conv_up{position}", _conv(features, features))
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, config.bands)

    @property
    def layout(self) -> Layout:
        config = self.config
        return Layout(
            "conv_first",
            "conv_last",
            config.bands,
            images=config.in_bands // config.bands,
            mask=config.mask,
            block=config.unshuffle,
        )

    def forward(self, degraded_BCHW: Tensor) -> Tensor:
        height, width = degraded_BCHW.shape[2:]
        features = self.conv_first(self._unshuffle(degraded_BCHW))
        trunk = features
        for block in self.body:
            trunk = block(trunk)
        features = features + self.conv_body(trunk)
        for position in range(1, self.config.num_upsamplings + 1):
            features = F.interpolate(features, scale_factor=2.0, mode="nearest")
            features = _activate(self.get_submodule(f"conv_up{position}")(features))
        restored: Tensor = self.conv_last(_activate(self.conv_hr(features)))
        return restored[:, :, : self.config.scale * height, : self.config.scale * width]

    def _unshuffle(self, degraded_BCHW: Tensor) -> Tensor:
        """Whole blocks of pixels as channels; a single image as often as images are taken."""
        config = self.config
        if degraded_BCHW.shape[1] == config.bands + config.mask:
            shown, mask = degraded_BCHW.split([config.bands, int(config.mask)], 1)
            repeated = shown.repeat(1, config.in_bands // config.bands, 1, 1)
            degraded_BCHW = torch.cat([repeated, mask], 1)
        side = config.unshuffle
        height, width = (-(-length // side) * side for length in degraded_BCHW.shape[2:])
        return F.pixel_unshuffle(pad_to(degraded_BCHW, height, width), side)


class ResidualBlock(nn.Module):
    """Three dense blocks (B,features,H,W), added to the input at a fifth of their strength."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        result: Tensor = self.rdb3(self.rdb2(self.rdb1(features_BCHW)))
        return features_BCHW + RESIDUAL_WEIGHT * result


class DenseBlock(nn.Module):
    """Five convolutions (B,features,H,W), each of which sees all before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for position in range(NUM_DENSE_CONVS):
            outputs = growth if position < NUM_DENSE_CONVS - 1 else features
            conv = _conv(features + position * growth, outputs)
            _initialise(conv)
            self.add_module(f"conv{position + 1}", conv)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        seen = [features_BCHW]
        for position in range(1, NUM_DENSE_CONVS):
            conv = self.get_submodule(f"conv{position}")
            seen.append(_activate(conv(torch.cat(seen, 1))))
        last = self.get_submodule(f"conv{NUM_DENSE_CONVS}")
        result: Tensor = last(torch.cat(seen, 1))
        return features_BCHW + RESIDUAL_WEIGHT * result


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def _activate(features_BCHW: Tensor) -> Tensor:
    return F.leaky_relu(features_BCHW, SLOPE)


def _initialise(conv: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(conv.weight)
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight.mul_(INITIAL_GAIN)
        conv.bias.zero_()
