"""How close a restored image is to its reference as trained networks see them: LPIPS and DISTS.

Their weights are in files that the user names. Images are gray or RGB, (B,1 or 3,H,W) in 0-1.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from ganray.errors import CheckpointError
from ganray.models.feature_networks import (
    VGG16_LAYOUT,
    VGG16_SEEN,
    FeatureNetwork,
    Tensors,
    imagenet_scaled,
    open_tensors,
    vgg_layers,
)
from ganray.models.foreign import describe_tensors

LPIPS_EPSILON: Final = 1e-8
DISTS_CONSTANT: Final = 1e-6
DISTS_CHANNELS: Final = (3, 64, 128, 256, 512, 512)
"""Of the image itself and VGG16's five compared layers."""

Heads = tuple[Tensor, ...]


def decode_heads(data: bytes, source: str, network: FeatureNetwork, device: torch.device) -> Heads:
    """LPIPS' linear heads, (C,) for each layer, from the official files' format (v0.1).

    Raises CheckpointError where they are not of as many layers and channels as the network.
    """
    tensors = open_tensors(data, source)
    channels = _channels(network, device)
    heads = [tensors.get(f"lin{i}.model.1.weight") for i in range(len(channels))]
    shapes = [None if head is None else tuple(head.shape) for head in heads]
    if len(tensors) != len(channels) or shapes != [(1, wide, 1, 1) for wide in channels]:
        raise CheckpointError(
            f"{source} holds {describe_tensors(tensors)}; expected lin0.model.1.weight and so on "
            f"of {', '.join(map(str, channels))} channels, LPIPS' heads for "
            f"{network.architecture.title}. Name the heads of this network, or leave them empty"
        )
    return tuple(head.flatten().to(device) for head in heads if head is not None)


def equal_heads(network: FeatureNetwork, device: torch.device) -> Heads:
    """Weight 1 for every channel: the untrained variant of Zhang et al. 2018."""
    return tuple(torch.ones(wide, device=device) for wide in _channels(network, device))


def lpips(
    network: FeatureNetwork, heads: Heads, restored_BCHW: Tensor, reference_BCHW: Tensor
) -> Tensor:
    """Σₗ mean over pixels of wₗ·(φ̂ₗ(y) − φ̂ₗ(x))², (B,); Zhang et al. 2018, eq. 1.

    φ̂ₗ is a layer's features at a pixel, of length 1; wₗ are the heads' weights, of one layer.
    """
    pairs = zip(network.features(restored_BCHW), network.features(reference_BCHW), strict=True)
    distances = [
        ((_unit(y) - _unit(x)).square().mean((2, 3)) * head).sum(1)
        for head, (y, x) in zip(heads, pairs, strict=True)
    ]
    return torch.stack(distances).sum(0)


def decode_dists(data: bytes, source: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """DISTS' α and β, (1475,) each and divided by the sum of both; raises CheckpointError."""
    tensors = open_tensors(data, source)
    shape = (1, sum(DISTS_CHANNELS), 1, 1)
    if any(
        name not in tensors or tuple(tensors[name].shape) != shape for name in ("alpha", "beta")
    ):
        raise CheckpointError(
            f"{source} holds {describe_tensors(tensors)}; expected alpha and beta {shape}, as "
            "DISTS' authors publish them"
        )
    alpha, beta = (tensors[name].flatten().to(device) for name in ("alpha", "beta"))
    total = alpha.sum() + beta.sum()
    return alpha / total, beta / total


def dists(
    vgg16: Tensors, weights: tuple[Tensor, Tensor], restored_BCHW: Tensor, reference_BCHW: Tensor
) -> Tensor:
    """1 − Σ (α l(x̃,ỹ) + β s(x̃,ỹ)), (B,); Ding et al. 2020 (arXiv 2004.07728), eq. 6 to 8.

    l compares means and s structure of each channel of the image and of VGG16's layers, whose
    maximum pooling is replaced by the root of a window's weighted mean square.
    """
    seen, expected = (
        _dists_features(vgg16, images.float().expand(-1, 3, -1, -1))
        for images in (restored_BCHW, reference_BCHW)
    )
    similarity = restored_BCHW.new_zeros(len(restored_BCHW))
    parts = (torch.split(each, list(DISTS_CHANNELS)) for each in weights)
    for alpha, beta, y, x in zip(*parts, seen, expected, strict=True):
        mean_y, mean_x = y.mean((2, 3)), x.mean((2, 3))
        variances = y.var((2, 3), correction=0) + x.var((2, 3), correction=0)
        covariance = (y * x).mean((2, 3)) - mean_y * mean_x
        squares = mean_y.square() + mean_x.square()
        texture = (2 * mean_y * mean_x + DISTS_CONSTANT) / (squares + DISTS_CONSTANT)
        structure = (2 * covariance + DISTS_CONSTANT) / (variances + DISTS_CONSTANT)
        similarity = similarity + (alpha * texture + beta * structure).sum(1)
    return 1 - similarity


def _dists_features(tensors: Tensors, images_B3HW: Tensor) -> list[Tensor]:
    layers = vgg_layers(tensors, imagenet_scaled(images_B3HW), VGG16_LAYOUT, _l2_pool)
    return [images_B3HW, *(F.relu(x) for position, x in layers if position in VGG16_SEEN)]


def _l2_pool(features: Tensor) -> Tensor:
    """√(g ∗ x²), halved, with g Hann's window of 3x3; Ding et al. 2020, eq. 2."""
    wide = features.shape[1]
    line = features.new_tensor([0.25, 0.5, 0.25])
    window = torch.outer(line, line).expand(wide, 1, 3, 3)
    squares = F.conv2d(features.square(), window, stride=2, padding=1, groups=wide)
    return (squares + 1e-12).sqrt()


def _unit(features_BCHW: Tensor) -> Tensor:
    return features_BCHW / (features_BCHW.square().sum(1, keepdim=True) + LPIPS_EPSILON).sqrt()


def _channels(network: FeatureNetwork, device: torch.device) -> Sequence[int]:
    with torch.no_grad():
        seen = network.features(torch.zeros(1, 3, 64, 64, device=device))
    return [features.shape[1] for features in seen]
