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
from ganray.models.discriminator import Discriminator
from ganray.models.initialisation import SLOPE, initialise

NUM_LEVELS = 3


class UNetConfig(Section):
    """Shape of a U-Net discriminator."""

    bands: Annotated[int, Field(ge=1)] = 3
    """Bands of the images that it judges."""
    num_features: Annotated[int, Field(ge=1)] = 16
    """Channels at full resolution; doubled at each of three levels."""

    @property
    def stride(self) -> int:
        """Sides of images must be multiples of it."""
        return int(2**NUM_LEVELS)


class UNetDiscriminator(Discriminator):
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
        self.apply(initialise)

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """What is found on the way down and on the way up, level by level; the logits last."""
        found = [F.leaky_relu(self.first(images_BCHW), SLOPE)]
        for conv in self.down:
            found.append(F.leaky_relu(conv(found[-1]), SLOPE))
        for conv, skip in zip(self.up, found[-2::-1], strict=True):
            magnified = F.interpolate(found[-1], scale_factor=2.0, mode="bilinear")
            found.append(F.leaky_relu(conv(magnified), SLOPE) + skip)
        hidden = F.leaky_relu(self.hidden(found[-1]), SLOPE)
        return [*found, self.last(hidden)]
