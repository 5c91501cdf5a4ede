"""The VGG discriminator: one logit for each image, no normalisation.

After Ledig et al. 2017 (SRGAN) and Wang et al. 2018 (ESRGAN), with the mean over all places
before the dense end, so that one network judges patches of any size.
"""

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.config import Section
from ganray.models.discriminator import Discriminator
from ganray.models.initialisation import SLOPE, initialise

LARGEST_FACTOR = 8


class VGGConfig(Section):
    """Shape of a VGG discriminator."""

    bands: Annotated[int, Field(ge=1)] = 3
    """Bands of the images that it judges."""
    num_features: Annotated[int, Field(ge=1)] = 32
    """Channels at full resolution; doubled at each level, up to eight times."""
    num_levels: Annotated[int, Field(ge=1)] = 4
    """Levels of two convolutions, the second of which halves the resolution."""

    @property
    def stride(self) -> int:
        """Sides of images must be multiples of it."""
        return int(2**self.num_levels)


class VGGDiscriminator(Discriminator):
    """Images (B,C,H,W), sides divisible by the stride, to logits (B,1,1,1)."""

    def __init__(self, config: VGGConfig) -> None:
        super().__init__()
        factors = [min(2**level, LARGEST_FACTOR) for level in range(config.num_levels)]
        widths = [config.num_features * factor for factor in factors]
        self.same = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1)
            for before, after in pairwise([config.bands, *widths])
        )
        self.down = nn.ModuleList(
            nn.Conv2d(width, width, 4, stride=2, padding=1) for width in widths
        )
        self.hidden = nn.Conv2d(widths[-1], widths[-1], 1)
        self.last = nn.Conv2d(widths[-1], 1, 1)
        self.apply(initialise)

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """What every level finds, then the dense layer (B,…,1,1); the logits last."""
        found = [images_BCHW]
        for same, down in zip(self.same, self.down, strict=True):
            hidden = F.leaky_relu(same(found[-1]), SLOPE)
            found.append(F.leaky_relu(down(hidden), SLOPE))
        pooled = found[-1].mean((2, 3), keepdim=True)
        found.append(F.leaky_relu(self.hidden(pooled), SLOPE))
        found.append(self.last(found[-1]))
        return found[1:]
