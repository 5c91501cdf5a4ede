"""Perceptual losses by a trained network whose weights are in a file that the user names.

Recognised by its tensors: VGG19 under torchvision's names, or the features of SqueezeNet 1.1 as
Caffe trained them. Nothing is downloaded. The files are .pth (read without running code),
.safetensors or .npz. Both networks know gray and colour alone.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganray.errors import CheckpointError
from ganray.models.foreign import describe_tensors, open_weights
from ganray.training.perceptual import Perceptual

Tensors = dict[str, Tensor]
Features = Callable[[Tensors, Tensor], list[Tensor]]

# Channels of VGG19's convolutions and, as 0, its poolings: torchvision's `features`.
VGG19_LAYOUT = (64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4)
VGG19_WEIGHTS = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
"""Of the layers conv1_2, conv2_2, conv3_4, conv4_4, conv5_4, by their number there."""
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
CAFFE_MEAN_BGR = (104.006, 116.669, 122.679)
SMALLEST_ACTIVITY = 1e-6


@dataclass(frozen=True)
class Architecture:
    """A network that files are recognised as: its tensors' shapes, and its loss."""

    title: str
    shapes: Mapping[str, tuple[int, ...]]
    measure: Callable[[Tensors, Tensor, Tensor], Tensor]


def decode_perceptual(data: bytes, source: str, device: torch.device) -> Perceptual:
    """The loss (restored, reference) ↦ scalar by the network in a file; `source` names it.

    Images (B,1 or 3,H,W) in 0-1; gray is shown as three equal bands. Raises CheckpointError, saying
    what was found and expected, for any other file.
    """
    tensors = _open_npz(data, source) if _is_npz(data) else open_weights(data, source).tensors
    architecture = _recognise(tensors, source)
    used = {name: tensors[name].to(device) for name in architecture.shapes}

    def measure(restored: Tensor, reference: Tensor) -> Tensor:
        return architecture.measure(used, _as_colour(restored), _as_colour(reference))

    return measure


def vgg19_loss(tensors: Tensors, restored: Tensor, reference: Tensor) -> Tensor:
    """Σ wᵢ·mean |φᵢ(y) − φᵢ(x)| before activation; ESRGAN (Wang et al. 2018), section 3.2.

    Layers and weights are those of Real-ESRGAN (Wang et al. 2021), section 4.1.
    """
    seen = vgg19_features(tensors, restored)
    with torch.no_grad():
        expected = vgg19_features(tensors, reference)
    pairs = zip(VGG19_WEIGHTS.values(), seen, expected, strict=True)
    return torch.stack([weight * F.l1_loss(y, x) for weight, y, x in pairs]).sum()


def vgg19_features(tensors: Tensors, images_B3HW: Tensor) -> list[Tensor]:
    """The five compared layers, before their activation."""
    mean, deviation = (
        images_B3HW.new_tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    features = (images_B3HW - mean) / deviation
    seen = []
    for position, channels in _vgg19_layers():
        if not channels:
            features = F.max_pool2d(features, 2)
            continue
        name = f"features.{position}"
        features = F.conv2d(features, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)
        if position in VGG19_WEIGHTS:
            seen.append(features)
        features = F.relu(features)
    return seen


def squeezenet_loss(tensors: Tensors, restored: Tensor, reference: Tensor) -> Tensor:
    """1/L Σ mean |φᵢ(y) − φᵢ(x)| / mean |φᵢ(x)|, per sample, averaged.

    After Johnson et al. 2016, section 3.2, with each of the L layers relative to its own
    activity: Caffe's networks see 0-255, and their layers differ by orders of magnitude.
    """
    seen = squeezenet_features(tensors, restored)
    with torch.no_grad():
        expected = squeezenet_features(tensors, reference)
    ratios = [_relative_error(y, x) for y, x in zip(seen, expected, strict=True)]
    return torch.stack(ratios).mean()


def squeezenet_features(tensors: Tensors, images_B3HW: Tensor) -> list[Tensor]:
    """The seven compared layers; Iandola et al. 2016, version 1.1."""
    mean = images_B3HW.new_tensor(CAFFE_MEAN_BGR)[:, None, None]
    features = F.relu(_conv(tensors, "conv1", images_B3HW.flip(1) * 255 - mean, stride=2))
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


def _relative_error(seen: Tensor, expected: Tensor) -> Tensor:
    """Per sample, so that a sample's loss does not depend on its batch."""
    errors_B = (seen - expected).abs().flatten(1).mean(1)
    return (errors_B / (expected.abs().flatten(1).mean(1) + SMALLEST_ACTIVITY)).mean()


def _conv(
    tensors: Tensors, name: str, images: Tensor, *, stride: int = 1, padding: int = 0
) -> Tensor:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    return F.conv2d(images, weight, bias, stride=stride, padding=padding)


def _as_colour(images_BCHW: Tensor) -> Tensor:
    return images_BCHW.float().expand(-1, 3, -1, -1)


def _vgg19_layers() -> Sequence[tuple[int, int]]:
    """Each layer's number in torchvision, where an activation follows every convolution."""
    layers, position = [], 0
    for channels in VGG19_LAYOUT:
        layers.append((position, channels))
        position += 2 if channels else 1
    return layers


def _vgg19_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    wide = 3
    for position, channels in _vgg19_layers():
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


ARCHITECTURES = (
    Architecture("VGG19 under torchvision's names", _vgg19_shapes(), vgg19_loss),
    Architecture("the features of SqueezeNet 1.1", _squeezenet_shapes(), squeezenet_loss),
)


def _recognise(tensors: Tensors, source: str) -> Architecture:
    """The network that has all its tensors in the file; others (a classifier) may be there too."""
    for architecture in ARCHITECTURES:
        if all(
            name in tensors and tuple(tensors[name].shape) == shape
            for name, shape in architecture.shapes.items()
        ):
            return architecture
    expected = "; or ".join(
        f"{known.title} ({len(known.shapes)} tensors: {_first_shape(known.shapes)}, …)"
        for known in ARCHITECTURES
    )
    raise CheckpointError(
        f"{source} holds {describe_tensors(tensors)}; expected {expected}. Name a file of one of "
        "these in perceptual_weights, or leave it empty"
    )


def _first_shape(shapes: Mapping[str, tuple[int, ...]]) -> str:
    name, shape = next(iter(shapes.items()))
    return f"{name} {shape}"


def _is_npz(data: bytes) -> bool:
    """An .npz is a zip of .npy; torch.save writes zips too, of a data.pkl."""
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _open_npz(data: bytes, source: str) -> Tensors:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (ValueError, OSError, TypeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{source} ({len(data)} bytes) is a damaged .npz, or holds more than numbers: "
            f"{error}; expected arrays of weights"
        ) from error
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise CheckpointError(f"{source} holds NaN or infinity in {broken[0]}; copy it again")
    return {name: tensor.float() for name, tensor in tensors.items()}
