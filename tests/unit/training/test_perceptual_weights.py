import io
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from ganray.errors import CheckpointError
from ganray.models.feature_networks import ARCHITECTURES, FeatureNetwork
from ganray.training.perceptual_weights import decode_perceptual, squeezenet_loss, vgg19_loss

VGG19, SQUEEZENET = ARCHITECTURES["vgg19"], ARCHITECTURES["squeezenet-caffe"]
CPU = torch.device("cpu")


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """He's scale, with biases, so that every layer has something to say."""
    rng = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=rng) * (2 / np.prod(shape[1:])) ** 0.5
        if len(shape) > 1
        else torch.randn(shape, generator=rng) / 10
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def vgg19() -> dict[str, Tensor]:
    return weights(VGG19.shapes)


@pytest.fixture(scope="module")
def squeezenet() -> dict[str, Tensor]:
    return weights(SQUEEZENET.shapes)


def as_npz(tensors: dict[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.numpy() for name, tensor in tensors.items()})
    return buffer.getvalue()


def as_torch(tensors: dict[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(OrderedDict(tensors), buffer)
    return buffer.getvalue()


def images(bands: int = 3, height: int = 32, width: int = 32) -> tuple[Tensor, Tensor]:
    drawn = np.random.default_rng(0).random((2, 2, bands, height, width), np.float32)
    return torch.tensor(drawn[0]), torch.tensor(drawn[1])


def torchvision_vgg19(tensors: dict[str, Tensor]) -> nn.Sequential:
    """Configuration E of Simonyan & Zisserman 2015, numbered as torchvision does."""
    layers: list[nn.Module] = []
    wide = 3
    for channels, repeats in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(repeats):
            layers += [nn.Conv2d(wide, channels, 3, padding=1), nn.ReLU()]
            wide = channels
        layers.append(nn.MaxPool2d(2))
    network = nn.Sequential(*layers)
    network.load_state_dict({n.removeprefix("features."): t for n, t in tensors.items()})
    return network


@pytest.mark.parametrize("sides", [(32, 32), (40, 72)])
def test_vgg19_is_the_network_of_torchvision_and_the_loss_of_real_esrgan(
    vgg19: dict[str, Tensor], sides: tuple[int, int]
) -> None:
    network = torchvision_vgg19(vgg19)
    y, x = images(3, *sides)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def seen(image: Tensor) -> list[Tensor]:
        features = (image - torch.tensor(mean[:, None, None])) / torch.tensor(
            deviation[:, None, None]
        )
        features, kept = features.float(), []
        for position, layer in enumerate(network):
            features = layer(features)
            if position in (2, 7, 16, 25, 34):
                kept.append(features)
        return kept

    pairs = list(zip(VGG19.features(vgg19, x), seen(x), strict=True))
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    weighted = zip((0.1, 0.1, 1, 1, 1), seen(y), seen(x), strict=True)
    loss = sum(w * float((a - b).detach().abs().mean()) for w, a, b in weighted)
    assert float(vgg19_loss(FeatureNetwork(VGG19, vgg19), y, x)) == pytest.approx(loss, rel=1e-4)


def test_squeezenet_sees_blue_first_from_0_to_255_without_its_mean(
    squeezenet: dict[str, Tensor],
) -> None:
    x, _ = images()
    first = SQUEEZENET.features(squeezenet, x)[0]
    seen = x.numpy()[:, ::-1] * 255 - np.array([104.006, 116.669, 122.679])[:, None, None]
    kernel = squeezenet["conv1.weight"].numpy()
    expected = np.einsum("oikl,ikl->o", kernel, seen[1, :, 2:5, 4:7])
    expected += squeezenet["conv1.bias"].numpy()
    np.testing.assert_allclose(first[1, :, 1, 2], np.maximum(expected, 0), rtol=1e-3, atol=1e-2)


def test_squeezenet_has_its_channels_and_halves_three_times(squeezenet: dict[str, Tensor]) -> None:
    shapes = [tuple(f.shape[1:]) for f in SQUEEZENET.features(squeezenet, torch.rand(1, 3, 63, 63))]
    assert shapes == [
        (64, 31, 31),
        (128, 15, 15),
        (256, 7, 7),
        (384, 3, 3),
        (384, 3, 3),
        (512, 3, 3),
        (512, 3, 3),
    ]


def test_squeezenet_loss_is_relative_to_each_layer(squeezenet: dict[str, Tensor]) -> None:
    y, x = images()
    ratios = [
        [float((a - b).abs().mean() / b.abs().mean()) for a, b in zip(one, other, strict=True)]
        for one, other in zip(
            SQUEEZENET.features(squeezenet, y), SQUEEZENET.features(squeezenet, x), strict=True
        )
    ]
    assert float(squeezenet_loss(FeatureNetwork(SQUEEZENET, squeezenet), y, x)) == pytest.approx(
        np.mean(ratios), rel=1e-4
    )


@pytest.mark.parametrize("encode", [as_npz, as_torch, safetensors.torch.save])
def test_a_file_is_recognised_by_its_tensors_in_each_format(
    encode: object, squeezenet: dict[str, Tensor]
) -> None:
    y, x = images()
    measure = decode_perceptual(encode(squeezenet), "file", CPU)
    torch.testing.assert_close(
        measure(y, x), squeezenet_loss(FeatureNetwork(SQUEEZENET, squeezenet), y, x)
    )


def test_vgg19_is_recognised_beside_its_classifier(vgg19: dict[str, Tensor]) -> None:
    y, x = images()
    more = vgg19 | {"classifier.0.weight": torch.zeros(2, 2)}
    measure = decode_perceptual(as_torch(more), "vgg19.pth", CPU)
    torch.testing.assert_close(measure(y, x), vgg19_loss(FeatureNetwork(VGG19, vgg19), y, x))


def test_gray_is_seen_as_three_equal_bands_and_equals_are_0(squeezenet: dict[str, Tensor]) -> None:
    measure = decode_perceptual(as_npz(squeezenet), "file", CPU)
    y, x = images(bands=1)
    y.requires_grad_()
    loss = measure(y, x)
    torch.testing.assert_close(loss, measure(y.repeat(1, 3, 1, 1), x.repeat(1, 3, 1, 1)))
    same = x.clone().requires_grad_()
    measure(same, x).backward()
    assert same.grad is not None and not same.grad.any()


@pytest.mark.parametrize("encode", [as_npz, as_torch])
def test_a_file_of_another_network_is_refused_by_what_was_found_and_expected(
    encode: object,
) -> None:
    data = encode({"body.0.weight": torch.zeros(8, 3, 3, 3)})
    with pytest.raises(CheckpointError) as caught:
        decode_perceptual(data, "other.npz", CPU)
    message = str(caught.value)
    for part in (
        "other.npz",
        "body.0.weight (8, 3, 3, 3)",
        "VGG19",
        "SqueezeNet 1.1",
        "32 tensors",
    ):
        assert part in message


def test_a_smaller_vgg_is_not_taken_for_vgg19(vgg19: dict[str, Tensor]) -> None:
    vgg16 = {n: t for n, t in vgg19.items() if int(n.split(".")[1]) < 30}
    with pytest.raises(CheckpointError, match="expected VGG19"):
        decode_perceptual(as_torch(vgg16), "vgg16.pth", CPU)


def test_damage_objects_and_nan_are_refused(squeezenet: dict[str, Tensor]) -> None:
    objects = io.BytesIO()
    np.savez(objects, weight=np.array([{}], dtype=object))
    broken = squeezenet | {"conv1.bias": torch.full((64,), torch.nan)}
    whole = as_npz(squeezenet)
    # A zip of which the end is there, but not the directory before it.
    holed = whole[:-600] + bytes(500) + whole[-100:]
    compressed = io.BytesIO()
    np.savez_compressed(compressed, **{name: t.numpy() for name, t in squeezenet.items()})
    packed = bytearray(compressed.getvalue())
    packed[1000:2000] = bytes(1000)
    for data in (
        *(objects.getvalue(), as_npz(broken), whole[:-1000], holed, bytes(packed), b"", b"text"),
    ):
        with pytest.raises(CheckpointError, match=r"file\.npz"):
            decode_perceptual(data, "file.npz", CPU)
