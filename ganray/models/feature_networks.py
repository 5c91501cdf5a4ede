"""Networks whose features images are compared by, from a file of weights that the user names.

Recognised by their tensors: VGG16, VGG19 and SqueezeNet 1.1 under torchvision's names, and the
features of SqueezeNet 1.1 as Caffe trained them. Nothing is downloaded. The files are .pth (read
without running code), .safetensors or .npz. All know gray and colour alone.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganray.errors import CheckpointError
from ganray.models.arrays import is_npz, open_npz
from ganray.models.foreign import describe_tensors, open_weights

Tensors = dict[str, Tensor]

# Channels of VGG's convolutions and, as 0, its poolings: torchvision's `features`.
VGG16_LAYOUT = (64, 64, 0, 128, 128, 0, *[256] * 3, 0, *[512] * 3, 0, *[512] * 3)
VGG19_LAYOUT = (64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4)
VGG16_SEEN = (2, 7, 14, 21, 28)
"""The last convolution before each pooling; LPIPS' and DISTS' choice, after activation."""
VGG19_SEEN = (2, 7, 16, 25, 34)
"""The same of VGG19; Real-ESRGAN's choice (Wang et al. 2021), before activation."""
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Per fire module: channels of its squeeze and of each of its expansions.
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128)} | {
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}
POOLED_FIRES = (2, 4, 6)
"""The fire modules before which the resolution is halved."""
SEEN_FIRES = (3, 5, 6, 7, 8, 9)
"""Those whose output is compared, beside that of conv1: LPIPS' choice (Zhang et al. 2018)."""
TORCHVISION_FIRES = dict(zip(FIRES, (3, 4, 6, 7, 9, 10, 11, 12), strict=True))
"""Their numbers in torchvision's `features`."""
CAFFE_MEAN_BGR = (104.006, 116.669, 122.679)
SMALLEST_SIDE_PIXELS = 32
"""Below it nothing is left after the poolings."""


@dataclass(frozen=True)
class Architecture:
    """A network that files are recognised as: its tensors' shapes, and its compared layers.

    `features` takes tensors and images (B,3,H,W) in 0-1, and gives one (B,C,h,w) per layer.
    """

    name: str
    title: str
    shapes: Mapping[str, tuple[int, ...]]
    features: Callable[[Tensors, Tensor], list[Tensor]]


@dataclass(frozen=True)
class FeatureNetwork:
    """An architecture with the weights of a file, whose SHA-256 begins with `digest`."""

    architecture: Architecture
    tensors: Tensors
    digest: str = ""

    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """The compared layers of images (B,1 or 3,H,W) in 0-1; gray is three equal bands."""
        colour_B3HW = images_BCHW.float().expand(-1, 3, -1, -1)
        return self.architecture.features(self.tensors, colour_B3HW)


def decode_network(
    data: bytes, source: str, device: torch.device, among: Sequence[str] = ()
) -> FeatureNetwork:
    """The network in a file, one of those named in `among` if any are; `source` names the file.

    Raises CheckpointError, saying what was found and expected, for any other file.
    """
    tensors = open_tensors(data, source)
    architecture = _recognise(tensors, source, among or tuple(ARCHITECTURES))
    used = {name: tensors[name].to(device) for name in architecture.shapes}
    return FeatureNetwork(architecture, used, hashlib.sha256(data).hexdigest()[:8])


def open_tensors(data: bytes, source: str) -> Tensors:
    """The tensors (float32) of a .npz, .pth or .safetensors; raises CheckpointError."""
    if not is_npz(data):
        return open_weights(data, source).tensors
    arrays = open_npz(data, source)
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


def vgg19_features(tensors: Tensors, images_B3HW: Tensor) -> list[Tensor]:
    """The five compared layers, before their activation."""
    layers = vgg_layers(tensors, imagenet_scaled(images_B3HW), VGG19_LAYOUT)
    return [features for position, features in layers if position in VGG19_SEEN]


def vgg16_features(tensors: Tensors, images_B3HW: Tensor) -> list[Tensor]:
    """The five compared layers, after their activation."""
    layers = vgg_layers(tensors, imagenet_scaled(images_B3HW), VGG16_LAYOUT)
    return [F.relu(features) for position, features in layers if position in VGG16_SEEN]


def vgg_layers(
    tensors: Tensors,
    features: Tensor,
    layout: Sequence[int],
    pool: Callable[[Tensor], Tensor] = lambda features: F.max_pool2d(features, 2),
) -> Iterator[tuple[int, Tensor]]:
    """Each convolution's number in torchvision and its result, before activation."""
    for position, channels in _vgg_positions(layout):
        if not channels:
            features = pool(features)
            continue
        features = _conv(tensors, f"features.{position}", features, padding=1)
        yield position, features
        features = F.relu(features)


def caffe_squeezenet_features(tensors: Tensors, images_B3HW: Tensor) -> list[Tensor]:
    """The seven compared layers; Iandola et al. 2016, version 1.1, weights of its authors."""
    mean = images_B3HW.new_tensor(CAFFE_MEAN_BGR)[:, None, None]
    return _squeezenet_features(tensors, images_B3HW.flip(1) * 255 - mean)


def torchvision_squeezenet_features(tensors: Tensors, images_B3HW: Tensor) -> list[Tensor]:
    """The seven compared layers; the same network, trained anew for torchvision."""
    named = {name: tensors[theirs] for name, theirs in _torchvision_names().items()}
    return _squeezenet_features(named, imagenet_scaled(images_B3HW))


def imagenet_scaled(images_B3HW: Tensor) -> Tensor:
    """What torchvision's networks see of images in 0-1."""
    mean, deviation = (
        images_B3HW.new_tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return (images_B3HW - mean) / deviation


def _squeezenet_features(tensors: Tensors, seen_B3HW: Tensor) -> list[Tensor]:
    features = F.relu(_conv(tensors, "conv1", seen_B3HW, stride=2))
    seen = [features]
    for fire in FIRES:
        if fire in POOLED_FIRES:
            features = F.max_pool2d(features, 3, stride=2, ceil_mode=True)
        squeezed = F.relu(_conv(tensors, f"fire{fire}.squeeze1x1", features))
        expanded = [
            _conv(tensors, f"fire{fire}.expand1x1", squeezed),
            _conv(tensors, f"fire{fire}.expand3x3", squeezed, padding=1),
        ]
        features = F.relu(torch.cat(expanded, 1))
        if fire in SEEN_FIRES:
            seen.append(features)
    return seen


def _conv(
    tensors: Tensors, name: str, images: Tensor, *, stride: int = 1, padding: int = 0
) -> Tensor:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    return F.conv2d(images, weight, bias, stride=stride, padding=padding)


def _vgg_positions(layout: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each layer's number in torchvision, where an activation follows every convolution."""
    position = 0
    for channels in layout:
        yield position, channels
        position += 2 if channels else 1


def _vgg_shapes(layout: Sequence[int]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    wide = 3
    for position, channels in _vgg_positions(layout):
        if channels:
            shapes[f"features.{position}.weight"] = (channels, wide, 3, 3)
            shapes[f"features.{position}.bias"] = (channels,)
            wide = channels
    return shapes


def _squeezenet_shapes() -> dict[str, tuple[int, ...]]:
    convs = {"conv1": (64, 3, 3, 3)}
    wide = 64
    for fire, (squeezed, expanded) in FIRES.items():
        convs[f"fire{fire}.squeeze1x1"] = (squeezed, wide, 1, 1)
        convs[f"fire{fire}.expand1x1"] = (expanded, squeezed, 1, 1)
        convs[f"fire{fire}.expand3x3"] = (expanded, squeezed, 3, 3)
        wide = 2 * expanded
    weights: dict[str, tuple[int, ...]] = {f"{n}.weight": shape for n, shape in convs.items()}
    return weights | {f"{name}.bias": shape[:1] for name, shape in convs.items()}


def _torchvision_names() -> dict[str, str]:
    """Caffe's names of SqueezeNet's tensors to torchvision's."""
    prefixes = {"conv1": "features.0"}
    for fire, position in TORCHVISION_FIRES.items():
        prefixes[f"fire{fire}.squeeze1x1"] = f"features.{position}.squeeze"
        for kernel in ("expand1x1", "expand3x3"):
            prefixes[f"fire{fire}.{kernel}"] = f"features.{position}.{kernel}"
    return {
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in prefixes.items()
        for kind in ("weight", "bias")
    }


def _torchvision_squeezenet_shapes() -> dict[str, tuple[int, ...]]:
    names = _torchvision_names()
    return {names[name]: shape for name, shape in _squeezenet_shapes().items()}


VGG19, VGG16 = "vgg19", "vgg16"
CAFFE_SQUEEZENET, TORCHVISION_SQUEEZENET = "squeezenet-caffe", "squeezenet-torchvision"
ARCHITECTURES = {
    known.name: known
    for known in (
        Architecture(
            VGG19, "VGG19 under torchvision's names", _vgg_shapes(VGG19_LAYOUT), vgg19_features
        ),
        Architecture(
            VGG16, "VGG16 under torchvision's names", _vgg_shapes(VGG16_LAYOUT), vgg16_features
        ),
        Architecture(
            CAFFE_SQUEEZENET,
            "the features of SqueezeNet 1.1",
            _squeezenet_shapes(),
            caffe_squeezenet_features,
        ),
        Architecture(
            TORCHVISION_SQUEEZENET,
            "SqueezeNet 1.1 under torchvision's names",
            _torchvision_squeezenet_shapes(),
            torchvision_squeezenet_features,
        ),
    )
}


def _recognise(tensors: Tensors, source: str, among: Sequence[str]) -> Architecture:
    """The network that has all its tensors in the file; others (a classifier) may be there too."""
    choices = [ARCHITECTURES[name] for name in among]
    for architecture in choices:
        if all(
            name in tensors and tuple(tensors[name].shape) == shape
            for name, shape in architecture.shapes.items()
        ):
            return architecture
    expected = "; or ".join(
        f"{known.title} ({len(known.shapes)} tensors: {_first_shape(known.shapes)}, …)"
        for known in choices
    )
    raise CheckpointError(
        f"{source} holds {describe_tensors(tensors)}; expected {expected}. Name a file of "
        f"{'that' if len(choices) == 1 else 'one of these'}, or leave it empty"
    )


def _first_shape(shapes: Mapping[str, tuple[int, ...]]) -> str:
    name, shape = next(iter(shapes.items()))
    return f"{name} {shape}"
