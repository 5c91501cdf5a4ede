"""The patch discriminator: one logit for each patch that it sees, no normalisation.

After Isola et al. 2017 (pix2pix), without batch normalisation, which would mix samples and has
no double backward across workers. Padded so that every stride of pixels has its logit.
"""

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.config import Section
from ganray.models.discriminator import Discriminator
from ganray.models.initialisation import SLOPE, initialise

KERNEL = 4
LARGEST_FACTOR = 8
# An even kernel at stride 1 has no middle.
MARGINS = (1, 2, 1, 2)


class PatchConfig(Section):
    """Shape of a patch discriminator."""

    bands: Annotated[int, Field(ge=1)] = 3
    """Bands of the images that it judges."""
    num_features: Annotated[int, Field(ge=1)] = 32
    """Channels of the first convolution; doubled by each further one, up to eight times."""
    num_layers: Annotated[int, Field(ge=1)] = 3
    """Convolutions that halve the resolution; with three a logit sees 70 pixels."""

    @property
    def stride(self) -> int:
        """Sides of images must be multiples of it."""
        return int(2**self.num_layers)


class PatchDiscriminator(Discriminator):
    """Images (B,C,H,W), sides divisible by the stride, to logits (B,1,H/stride,W/stride)."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        factors = [min(2**layer, LARGEST_FACTOR) for layer in range(config.num_layers + 1)]
        widths = [config.num_features * factor for factor in factors]
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, KERNEL, stride=2, padding=1)
            for before, after in pairwise([config.bands, *widths[:-1]])
        )
        self.hidden = nn.Conv2d(widths[-2], widths[-1], KERNEL)
        self.last = nn.Conv2d(widths[-1], 1, KERNEL)
        self.apply(initialise)

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """What every convolution finds, from fine to coarse; the logits last."""
        found = [images_BCHW]
        for conv in self.down:
            found.append(F.leaky_relu(conv(found[-1]), SLOPE))
        found.append(F.leaky_relu(self.hidden(F.pad(found[-1], MARGINS)), SLOPE))
        found.append(self.last(F.pad(found[-1], MARGINS)))
        return found[1:]
