"""The SPAN generator: attention without parameters, from the features' own values.

After Wan et al. 2023 (arXiv 2311.12770), of the NTIRE 2024 challenge on efficient
super-resolution, in the form that it is deployed in: one 3x3 convolution where training had four
(eq. 5), which `fold` makes one. Names are the published ones.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.config import Section
from ganray.models.layout import Layout

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
PUBLISHED_RANGE = 255.0
_PARTS = ("conv.0", "conv.1", "conv.2", "sk")


class SPANConfig(Section):
    """Shape of a SPAN generator."""

    bands: Annotated[int, Field(ge=1)] = 3
    """Bands of input and output."""
    num_features: Annotated[int, Field(ge=1)] = 48
    """Channels of every hidden convolution."""
    num_blocks: Annotated[int, Field(ge=1)] = 6
    """Attention blocks of three convolutions."""
    scale: Literal[1, 2, 3, 4] = 4
    """Magnification: 1, 2, 3 or 4."""
    mask: bool = False
    """Takes a mask of lost pixels (1 where lost) as a further input channel."""
    centred: bool = False
    """Subtract DIV2K's mean and multiply by 255 first, as some published checkpoints expect."""

    @model_validator(mode="after")
    def _has_a_mean(self) -> "SPANConfig":
        if self.centred and (self.bands != len(DIV2K_MEAN) or self.mask):
            raise ValueError("centred is for generators of three bands without a mask")
        return self


class SPAN(nn.Module):
    """Degraded (B,C,H,W) in 0-1, with a mask (B,C+1,H,W), to restored (B,C,scale·H,scale·W), not
    clamped."""

    def __init__(self, config: SPANConfig) -> None:
        super().__init__()
        self.config = config
        features = config.num_features
        self.conv_1 = _conv(config.bands + config.mask, features)
        for position in range(1, config.num_blocks + 1):
            self.add_module(f"block_{position}", AttentionBlock(features))
        self.conv_2 = _conv(features, features)
        self.conv_cat = nn.Conv2d(4 * features, features, 1)
        self.upsampler = nn.ModuleList([_conv(features, config.bands * config.scale**2)])

    @property
    def layout(self) -> Layout:
        config = self.config
        return Layout(
            "conv_1",
            "upsampler.0",
            config.bands,
            mask=config.mask,
            phases=config.scale,
            mean=DIV2K_MEAN if config.centred else (),
            gain=PUBLISHED_RANGE if config.centred else 1.0,
        )

    def forward(self, degraded_BCHW: Tensor) -> Tensor:
        config = self.config
        if config.centred:
            mean = degraded_BCHW.new_tensor(DIV2K_MEAN)[:, None, None]
            degraded_BCHW = (degraded_BCHW - mean) * PUBLISHED_RANGE
        shallow = self.conv_1(degraded_BCHW)
        found, hidden = [shallow], shallow
        for position in range(1, config.num_blocks + 1):
            result, hidden = self.get_submodule(f"block_{position}")(found[-1])
            found.append(result)
        deep = self.conv_2(found[-1])
        joined = self.conv_cat(torch.cat([shallow, deep, found[1], hidden], 1))
        for conv in self.upsampler:
            joined = conv(joined)
        return F.pixel_shuffle(joined, config.scale)


class AttentionBlock(nn.Module):
    """Features (B,features,H,W) weighted by an odd function of their own change; eq. 2 and 3.

    Also gives what its first convolution found, which the last block's is used for.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.c1_r = _conv(features, features)
        self.c2_r = _conv(features, features)
        self.c3_r = _conv(features, features)

    def forward(self, features_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        first = F.silu(self.c1_r(features_BCHW))
        change = self.c3_r(F.silu(self.c2_r(first)))
        attention = torch.sigmoid(change) - 0.5
        return (change + features_BCHW) * attention, first


def can_fold(tensors: Mapping[str, Tensor], name: str) -> bool:
    """Whether the tensors below `name` are the four convolutions that `fold` takes."""
    weights, biases = (
        [tensors.get(f"{name}.{part}.{kind}", torch.empty(0)) for part in _PARTS]
        for kind in ("weight", "bias")
    )
    if any(weight.ndim != 4 for weight in weights):
        return False
    inputs, outputs = weights[0].shape[1], weights[2].shape[0]
    first, second = weights[0].shape[0], weights[1].shape[0]
    sides = [(first, inputs, 1), (second, first, 3), (outputs, second, 1), (outputs, inputs, 1)]
    return all(
        weight.shape == (rows, columns, kernel, kernel) and bias.shape == (rows,)
        for weight, bias, (rows, columns, kernel) in zip(weights, biases, sides, strict=True)
    )


def fold(tensors: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that equals the training-time ones below `name`:
    1x1, 3x3 and 1x1 in a row (`conv`), and a 1x1 beside them (`sk`)."""
    (w1, b1), (w2, b2), (w3, b3), (beside, b4) = (
        (tensors[f"{name}.{part}.weight"].double(), tensors[f"{name}.{part}.bias"].double())
        for part in _PARTS
    )
    into, out_of = w1[:, :, 0, 0], w3[:, :, 0, 0]
    weight = torch.einsum("om,mnkl,ni->oikl", out_of, w2, into) + F.pad(beside, (1, 1, 1, 1))
    bias = out_of @ (w2.sum((2, 3)) @ b1 + b2) + b3 + b4
    return weight.float(), bias.float()


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)
