"""LPIPS and DISTS against torchmetrics, whose networks get the same weights."""

import io
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
from scipy.ndimage import gaussian_filter
from skimage import data
from torch import Tensor, nn
from torchmetrics.functional.image import dists as their_dists
from torchmetrics.functional.image import lpips as their_lpips

from ganray.errors import CheckpointError
from ganray.evaluation.perceptual import decode_dists, decode_heads, dists, equal_heads, lpips
from ganray.models.feature_networks import (
    ARCHITECTURES,
    CAFFE_SQUEEZENET,
    FIRES,
    TORCHVISION_SQUEEZENET,
    VGG16,
    VGG16_LAYOUT,
    FeatureNetwork,
    decode_network,
)

CPU = torch.device("cpu")
# The heads and DISTS' weights as their authors published them come with torchmetrics.
PUBLISHED = Path(torchmetrics.__file__).parent / "functional" / "image"
HEADS = {TORCHVISION_SQUEEZENET: "squeeze", VGG16: "vgg"}


def weights(name: str) -> dict[str, Tensor]:
    """He's scale, with biases, so that every layer has something to say."""
    rng = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(shape, generator=rng) * (2 / np.prod(shape[1:])) ** 0.5
        if len(shape) > 1
        else torch.randn(shape, generator=rng) / 10
        for key, shape in ARCHITECTURES[name].shapes.items()
    }


NETWORKS = {name: FeatureNetwork(ARCHITECTURES[name], weights(name)) for name in HEADS}


class Fire(nn.Module):
    def __init__(self, wide: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(wide, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def torchvision_features(name: str) -> nn.Sequential:
    """The layers of torchvision's `features`, with our random weights."""
    layers: list[nn.Module] = []
    if name == VGG16:
        wide = 3
        for channels in VGG16_LAYOUT:
            layers += [nn.Conv2d(wide, channels, 3, padding=1), nn.ReLU()] if channels else []
            layers += [] if channels else [nn.MaxPool2d(2)]
            wide = channels or wide
    else:
        layers, wide = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU()], 64
        for fire, (squeezed, expanded) in FIRES.items():
            if fire in (2, 4, 6):
                layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            layers.append(Fire(wide, squeezed, expanded))
            wide = 2 * expanded
    network = nn.Sequential(*layers)
    stripped = {k.removeprefix("features."): v for k, v in NETWORKS[name].tensors.items()}
    network.load_state_dict(stripped)
    return network


def heads_of(name: str) -> bytes:
    return (PUBLISHED / "lpips_models" / f"{HEADS[name]}.pth").read_bytes()


def images(bands: int = 3) -> tuple[Tensor, Tensor]:
    drawn = np.random.default_rng(0).random((2, 1, bands, 40, 47), np.float32)
    return torch.tensor(drawn[0]), torch.tensor(drawn[1])


@pytest.mark.parametrize("name", HEADS)
def test_lpips_is_that_of_torchmetrics(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = torchvision_features(name)
    monkeypatch.setattr(their_lpips, "_get_tv_model_features", lambda *_: backbone)
    expected = their_lpips._LPIPS(net=HEADS[name])(*images(), normalize=True).flatten()
    heads = decode_heads(heads_of(name), "heads.pth", NETWORKS[name], CPU)
    found = lpips(NETWORKS[name], heads, *images())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_dists_is_that_of_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = nn.Module()
    theirs.features = torchvision_features(VGG16)
    for attribute, value in {
        "_TORCHVISION_AVAILABLE": True,
        "VGG16_Weights": nn.Identity,
        "vgg16": lambda weights: theirs,
    }.items():
        monkeypatch.setattr(their_dists, attribute, value, raising=False)
    monkeypatch.setattr(nn.Identity, "DEFAULT", None, raising=False)
    network = their_dists.DISTSNetwork(load_weights=False)
    published = PUBLISHED / "dists_models" / "weights.pt"
    tensors = torch.load(published, map_location="cpu", weights_only=True)
    network.alpha.data, network.beta.data = tensors["alpha"], tensors["beta"]
    balance = decode_dists(published.read_bytes(), "dists.pt", CPU)
    found = dists(NETWORKS[VGG16].tensors, balance, *images())
    torch.testing.assert_close(found, network(*images()).reshape(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_distances_are_0_of_equals_symmetric_and_of_gray_as_of_three_equal_bands(name: str) -> None:
    network = NETWORKS[name]
    heads = equal_heads(network, CPU)
    y, x = images(bands=1)
    colour = lpips(network, heads, y.repeat(1, 3, 1, 1), x.repeat(1, 3, 1, 1))
    torch.testing.assert_close(lpips(network, heads, y, x), colour)
    torch.testing.assert_close(lpips(network, heads, x, y), colour)
    assert not lpips(network, heads, x, x).any() and (colour > 0).all()
    balance = torch.full((2, 1475), 1 / 2950).unbind()
    assert dists(NETWORKS[VGG16].tensors, balance, x, x).abs().max() < 1e-5


def test_more_blur_is_farther() -> None:
    network = NETWORKS[TORCHVISION_SQUEEZENET]
    heads = decode_heads(heads_of(TORCHVISION_SQUEEZENET), "heads.pth", network, CPU)
    image = (data.astronaut()[:128, 180:308].transpose(2, 0, 1) / 255).astype(np.float32)
    reference = torch.from_numpy(image)[None]
    found = [
        float(
            lpips(
                network, heads, torch.from_numpy(gaussian_filter(image, (0, s, s)))[None], reference
            )
        )
        for s in (0.5, 1, 2, 4)
    ]
    assert found == sorted(found)


def as_torch(tensors: dict[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(OrderedDict(tensors), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", [VGG16, TORCHVISION_SQUEEZENET])
def test_torchvisions_files_are_recognised_beside_their_classifiers(name: str) -> None:
    more = NETWORKS[name].tensors | {"classifier.1.weight": torch.zeros(2, 2)}
    network = decode_network(as_torch(more), "it.pth", CPU)
    assert network.architecture.name == name
    assert network.tensors.keys() == NETWORKS[name].tensors.keys() and len(network.digest) == 8


def test_heads_of_another_network_and_other_files_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"vgg\.pth holds 5 tensors.*64, 128, 256, 384"):
        decode_heads(heads_of(VGG16), "vgg.pth", NETWORKS[TORCHVISION_SQUEEZENET], CPU)
    with pytest.raises(CheckpointError, match=r"heads\.pth.*alpha and beta"):
        decode_dists(heads_of(VGG16), "heads.pth", CPU)
    with pytest.raises(CheckpointError, match="expected VGG16"):
        squeezenet = as_torch(NETWORKS[TORCHVISION_SQUEEZENET].tensors)
        decode_network(squeezenet, "it.pth", CPU, among=(VGG16,))


def test_caffes_heads_fit_by_their_shapes() -> None:
    network = FeatureNetwork(ARCHITECTURES[CAFFE_SQUEEZENET], weights(CAFFE_SQUEEZENET))
    heads = decode_heads(heads_of(TORCHVISION_SQUEEZENET), "squeeze.pth", network, CPU)
    assert [len(head) for head in heads] == [64, 128, 256, 384, 384, 512, 512]
