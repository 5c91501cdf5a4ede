"""The U-Net generator: restoration at the same size, with a wide view at little cost.

After Ronneberger et al. 2015, with residual blocks in place of plain convolutions (Zhang et al.
2018, ResUNet), skips that are added, and magnification by repetition, which leaves no checkerboard
(Odena et al. 2016).
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.config import Section
from ganray.models.layout import Layout
from ganray.models.padding import pad_to

SLOPE = 0.2
# Of He initialisation, where a result is added: the network begins near the identity.
INITIAL_GAIN = 0.1


class UNetGeneratorConfig(Section):
    """Shape of a U-Net generator."""

    bands: Annotated[int, Field(ge=1)] = 3
    """Bands of input and output."""
    num_features: Annotated[int, Field(ge=1)] = 24
    """Channels at full resolution; doubled at each level."""
    num_levels: Annotated[int, Field(ge=1, le=5)] = 3
    """Halvings of the resolution."""
    scale: Literal[1] = 1
    """Magnification: none."""
    mask: bool = False
    """Takes a mask of lost pixels (1 where lost) as a further input channel."""

    @property
    def alignment(self) -> int:
        """Side of the pixel blocks that the coarsest level sees."""
        return int(2**self.num_levels)


class UNetGenerator(nn.Module):
    """Degraded (B,C,H,W) in 0-1, with a mask (B,C+1,H,W), to restored (B,C,H,W), not clamped."""

    def __init__(self, config: UNetGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.num_features * 2**level for level in range(config.num_levels + 1)]
        self.first = _conv(config.bands + config.mask, widths[0])
        self.before = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.down = nn.ModuleList(
            _initialised(nn.Conv2d(fine, coarse, 2, stride=2)) for fine, coarse in pairwise(widths)
        )
        self.middle = ResidualBlock(widths[-1])
        self.up = nn.ModuleList(
            _conv(coarse, fine) for fine, coarse in reversed(list(pairwise(widths)))
        )
        self.after = nn.ModuleList(ResidualBlock(width) for width in widths[-2::-1])
        self.last = _conv(widths[0], config.bands, INITIAL_GAIN**2)

    @property
    def layout(self) -> Layout:
        config = self.config
        return Layout(
            "first",
            "last",
            config.bands,
            mask=config.mask,
            widens=True,
            num_levels=config.num_levels,
            from_coarse=("up", "after"),
            deepest="middle",
        )

    def forward(self, degraded_BCHW: Tensor) -> Tensor:
        height, width = degraded_BCHW.shape[2:]
        side = self.config.alignment
        rows, columns = (-(-length // side) * side for length in (height, width))
        features = self.first(pad_to(degraded_BCHW, rows, columns))
        skips = []
        for block, down in zip(self.before, self.down, strict=True):
            skips.append(block(features))
            features = _activate(down(skips[-1]))
        features = self.middle(features)
        for up, block in zip(self.up, self.after, strict=True):
            magnified = F.interpolate(features, scale_factor=2.0, mode="nearest")
            features = block(_activate(up(magnified)) + skips.pop())
        change: Tensor = self.last(features)[:, :, :height, :width]
        return degraded_BCHW[:, : self.config.bands] + change


class ResidualBlock(nn.Module):
    """Two convolutions (B,features,H,W), added to their input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, features)
        self.conv2 = _conv(features, features, INITIAL_GAIN)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        result: Tensor = self.conv2(_activate(self.conv1(features_BCHW)))
        return features_BCHW + result


def _activate(features_BCHW: Tensor) -> Tensor:
    return F.leaky_relu(features_BCHW, SLOPE)


def _conv(in_channels: int, out_channels: int, gain: float = 1.0) -> nn.Conv2d:
    return _initialised(nn.Conv2d(in_channels, out_channels, 3, padding=1), gain)


def _initialised(conv: nn.Conv2d, gain: float = 1.0) -> nn.Conv2d:
    nn.init.kaiming_normal_(conv.weight, a=SLOPE)
    conv.weight.data.mul_(gain)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
