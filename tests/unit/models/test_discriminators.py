"""What holds for every discriminator of the catalog."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from ganray.models.catalog import DISCRIMINATORS, on_device
from ganray.models.spectral import normalise_spectrally

TINY: dict[str, dict[str, int]] = {
    "unet": {"num_features": 2},
    "patch": {"num_features": 2, "num_layers": 2},
    "vgg": {"num_features": 2, "num_levels": 2},
}
PENALISED = list(itertools.product(DISCRIMINATORS, (False, True)))


def build(name: str, **options: int) -> tuple[nn.Module, int]:
    """A tiny discriminator and its stride."""
    choice = DISCRIMINATORS[name]
    config = choice.config.model_validate(TINY[name] | options)
    return choice.build(config), config.stride


def r1(network: nn.Module, images: Tensor) -> Tensor:
    """The mean of the squared gradients of every sample's mean logit."""
    images = images.detach().requires_grad_()
    logits = network(images).mean((1, 2, 3)).sum()
    (gradient,) = torch.autograd.grad(logits, images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def test_every_discriminator_has_its_tiny_twin_here() -> None:
    assert TINY.keys() == DISCRIMINATORS.keys()


@pytest.mark.parametrize("name", DISCRIMINATORS)
@pytest.mark.parametrize("bands", [1, 3, 5])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 2)])
def test_sides_that_are_multiples_of_the_stride_are_judged(
    name: str, bands: int, rows: int, columns: int
) -> None:
    network, stride = build(name, bands=bands)
    logits = network(torch.rand(2, bands, rows * stride, columns * stride))
    shapes = {
        "unet": (2, 1, rows * stride, columns * stride),
        "patch": (2, 1, rows, columns),
        "vgg": (2, 1, 1, 1),
    }
    assert logits.shape == shapes[name]
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_the_features_end_with_the_logits_and_each_has_a_gradient(name: str) -> None:
    network, stride = build(name)
    images = torch.rand(2, 3, 2 * stride, 2 * stride, requires_grad=True)
    features = network.features(images)
    assert len(features) > 2
    assert torch.equal(features[-1], network(images))
    for feature in features:
        (gradient,) = torch.autograd.grad(feature.sum(), images, retain_graph=True)
        assert gradient.any()


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_samples_of_a_batch_do_not_mix(name: str) -> None:
    network, stride = build(name)
    images = torch.rand(3, 3, 2 * stride, 3 * stride)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_every_parameter_has_a_part_in_the_logits(name: str) -> None:
    network, stride = build(name, num_features=4)
    network(torch.rand(4, 3, 2 * stride, 2 * stride)).sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize(("name", "is_bounded"), PENALISED)
def test_the_gradient_of_a_gradient_penalty_is_that_of_finite_differences(
    name: str, is_bounded: bool
) -> None:
    torch.manual_seed(0)
    network, stride = build(name)
    network = normalise_spectrally(network) if is_bounded else network
    # In evaluation mode spectral norm makes no step of its power iteration between two calls.
    network = network.double().eval()
    images = torch.rand(2, 3, stride, stride, dtype=torch.float64)
    weights = [p for p in network.parameters() if p.ndim == 4]
    directions = [torch.randn_like(p) for p in weights]
    gradients = torch.autograd.grad(r1(network, images), weights)
    expected = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))

    def moved(length: float) -> Tensor:
        with torch.no_grad():
            for weight, direction in zip(weights, directions, strict=True):
                weight.add_(direction, alpha=length)
        value = r1(network, images).detach()
        with torch.no_grad():
            for weight, direction in zip(weights, directions, strict=True):
                weight.sub_(direction, alpha=length)
        return value

    step = 1e-6
    found = (moved(step) - moved(-step)) / (2 * step)
    assert abs(expected) > 1e-6
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_spectral_norm_bounds_every_convolution(name: str) -> None:
    torch.manual_seed(0)
    network, stride = build(name, num_features=4)
    bounded = on_device(normalise_spectrally(network), torch.device("cpu"))
    images = torch.rand(2, 3, stride, stride)
    for _ in range(50):
        bounded(images)
    convs = [module for module in bounded.modules() if isinstance(module, nn.Conv2d)]
    norms = [torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2) for conv in convs]
    torch.testing.assert_close(torch.stack(norms), torch.ones(len(norms)), rtol=0.02, atol=0)


def test_a_logit_of_the_default_patch_discriminator_sees_70_pixels() -> None:
    choice = DISCRIMINATORS["patch"]
    network = choice.build(choice.config.model_validate({"num_features": 2}))
    images = torch.rand(1, 3, 160, 160, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(images)[0, 0, 10, 10], images)
    rows = gradient[0].abs().sum((0, 2)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 70
