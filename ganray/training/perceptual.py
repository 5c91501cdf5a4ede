"""Distances between a restoration y and its reference x as networks see them.

Three networks: the discriminator itself, one of random weights, and one of trained weights from
a file (`perceptual_weights.py`). None of them is trained by these losses, and what they see of
the reference is a constant.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RANDOM_WIDTHS = (16, 32, 64)
"""Channels of the random network's blocks, each at half the resolution of the one before."""

Perceptual = Callable[[Tensor, Tensor], Tensor]


def feature_matching(real_features: Sequence[Tensor], fake_features: Sequence[Tensor]) -> Tensor:
    """1/T Σ mean |D⁽ⁱ⁾(x) − D⁽ⁱ⁾(y)|, Wang et al. 2018 (pix2pixHD), eq. 4, over T layers.

    The last of the features are the logits, and are left out, as there. A mean over the layers
    in place of the sum, so that a weight means the same for every depth.
    """
    pairs = list(zip(real_features[:-1], fake_features[:-1], strict=True))
    return _mean([F.l1_loss(fake.float(), real.detach().float()) for real, fake in pairs])


class RandomFeatures(nn.Module):
    """Images (B,C,H,W) of any bands to the features of a VGG-like network of random weights.

    Liu et al. 2021 (CVPR, arXiv 2103.10571): structure, not training, makes a perceptual loss
    tell which pixels belong together. The weights follow from the seed, on every device.
    """

    def __init__(self, bands: int, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        widths = (bands, *RANDOM_WIDTHS)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _random_conv(wide, next_, rng), nn.ReLU(), _random_conv(next_, next_, rng)
            )
            for wide, next_ in pairwise(widths)
        )
        self.requires_grad_(False)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        features = images_BCHW - 0.5
        seen = []
        for block in self.blocks:
            features = block(features)
            seen.append(features)
            features = F.max_pool2d(F.relu(features), 2, ceil_mode=True)
        return seen


def random_features(network: RandomFeatures) -> Perceptual:
    """mean |φᵢ(y) − φᵢ(x)| over the layers i of the random network φ, Liu et al. 2021."""

    def measure(restored: Tensor, reference: Tensor) -> Tensor:
        seen = network(restored.float())
        with torch.no_grad():
            expected = network(reference.float())
        return _mean([F.l1_loss(y, x) for y, x in zip(seen, expected, strict=True)])

    return measure


def _random_conv(num_inputs: int, num_outputs: int, rng: torch.Generator) -> nn.Conv2d:
    # An uninitialised layer, so that the global random state is not drawn from.
    conv: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, num_inputs, num_outputs, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, generator=rng)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def _mean(losses: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()
