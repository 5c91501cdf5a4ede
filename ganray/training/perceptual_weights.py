"""Perceptual losses by a trained network whose weights are in a file that the user names.

Which networks, and of which files, is said in `ganray/models/feature_networks.py`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ganray.models.feature_networks import (
    CAFFE_SQUEEZENET,
    VGG19,
    VGG19_SEEN,
    FeatureNetwork,
    decode_network,
)
from ganray.training.perceptual import Perceptual

VGG19_WEIGHTS = dict(zip(VGG19_SEEN, (0.1, 0.1, 1.0, 1.0, 1.0), strict=True))
"""Of the layers conv1_2, conv2_2, conv3_4, conv4_4, conv5_4."""
SMALLEST_ACTIVITY = 1e-6


def decode_perceptual(data: bytes, source: str, device: torch.device) -> Perceptual:
    """The loss (restored, reference) ↦ scalar by the network in a file; `source` names it.

    Images (B,1 or 3,H,W) in 0-1; gray is shown as three equal bands. Raises CheckpointError, saying
    what was found and expected, for any other file.
    """
    network = decode_network(data, source, device, among=tuple(LOSSES))
    loss = LOSSES[network.architecture.name]

    def measure(restored: Tensor, reference: Tensor) -> Tensor:
        return loss(network, restored, reference)

    return measure


def vgg19_loss(network: FeatureNetwork, restored: Tensor, reference: Tensor) -> Tensor:
    """Σ wᵢ·mean |φᵢ(y) − φᵢ(x)| before activation; ESRGAN (Wang et al. 2018), section 3.2.

    Layers and weights are those of Real-ESRGAN (Wang et al. 2021), section 4.1.
    """
    seen = network.features(restored)
    with torch.no_grad():
        expected = network.features(reference)
    pairs = zip(VGG19_WEIGHTS.values(), seen, expected, strict=True)
    return torch.stack([weight * F.l1_loss(y, x) for weight, y, x in pairs]).sum()


def squeezenet_loss(network: FeatureNetwork, restored: Tensor, reference: Tensor) -> Tensor:
    """1/L Σ mean |φᵢ(y) − φᵢ(x)| / mean |φᵢ(x)|, per sample, averaged.

    After Johnson et al. 2016, section 3.2, with each of the L layers relative to its own
    activity: Caffe's networks see 0-255, and their layers differ by orders of magnitude.
    """
    seen = network.features(restored)
    with torch.no_grad():
        expected = network.features(reference)
    ratios = [_relative_error(y, x) for y, x in zip(seen, expected, strict=True)]
    return torch.stack(ratios).mean()


def _relative_error(seen: Tensor, expected: Tensor) -> Tensor:
    """Per sample, so that a sample's loss does not depend on its batch."""
    errors_B = (seen - expected).abs().flatten(1).mean(1)
    return (errors_B / (expected.abs().flatten(1).mean(1) + SMALLEST_ACTIVITY)).mean()


LOSSES = {VGG19: vgg19_loss, CAFFE_SQUEEZENET: squeezenet_loss}
