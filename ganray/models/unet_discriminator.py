"""The U-Net discriminator: one logit for each pixel, no normalisation.

After Schönfeld et al. 2020 and Real-ESRGAN, without spectral norm: R1 and R2 bound its
gradients instead, and a normalisation under a gradient penalty would mix samples.
"""

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.config import Section

NUM_LEVELS = 3
SLOPE = 0.2


class UNetConfig(Section):
    """Shape of a U-Net discriminator."""

    bands: Annotated[int, Field(ge=1)] = 3
    """Bands of the images that it judges."""
    num_features: Annotated[int, Field(ge=1)] = 16
    """Channels at full resolution; doubled at each of three levels."""


class UNetDiscriminator(nn.Module):
    """Images (B,C,H,W), sides divisible by 8, to logits (B,1,H,W)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths = [config.num_features * 2**level for level in range(NUM_LEVELS + 1)]
        self.first = nn.Conv2d(config.bands, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 4, stride=2, padding=1) for fine, coarse in pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(coarse, fine, 3, padding=1)
            for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.hidden = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.last = nn.Conv2d(widths[0], 1, 3, padding=1)
        self.apply(_initialise)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features = F.leaky_relu(self.first(images_BCHW), SLOPE)
        skips = []
        for conv in self.down:
            skips.append(features)
            features = F.leaky_relu(conv(features), SLOPE)
        for conv in self.up:
            features = F.interpolate(features, scale_factor=2.0, mode="bilinear")
            features = F.leaky_relu(conv(features), SLOPE) + skips.pop()
        logits: Tensor = self.last(F.leaky_relu(self.hidden(features), SLOPE))
        return logits


def _initialise(module: nn.Module) -> None:
    """He initialisation: PyTorch's own would start so flat that the first game is no game."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
