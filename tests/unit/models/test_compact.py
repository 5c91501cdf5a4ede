import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ganray.models.compact import CompactConfig, CompactGenerator


def expected_shapes(features: int, convs: int, scale: int) -> dict[str, tuple[int, ...]]:
    """The published layout of SRVGGNetCompact with three bands."""
    last = 2 * convs + 2
    shapes: dict[str, tuple[int, ...]] = {}
    for position in range(last + 1):
        if position % 2:
            shapes[f"body.{position}.weight"] = (features,)
            continue
        inputs = 3 if position == 0 else features
        outputs = 3 * scale**2 if position == last else features
        shapes[f"body.{position}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"body.{position}.bias"] = (outputs,)
    return shapes


@pytest.mark.parametrize(
    ("convs", "num_tensors", "num_parameters"), [(16, 53, 621424), (32, 101, 1213296)]
)
def test_published_networks_fit_tensor_by_tensor(
    convs: int, num_tensors: int, num_parameters: int
) -> None:
    network = CompactGenerator(CompactConfig(num_features=64, num_convs=convs, scale=4))
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes == expected_shapes(64, convs, 4)
    assert len(shapes) == num_tensors
    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([1, 2, 3, 4]), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))
def test_the_output_is_the_input_magnified_by_the_scale(
    scale: int, bands: int, height: int, width: int
) -> None:
    network = CompactGenerator(CompactConfig(bands=bands, num_features=4, num_convs=1, scale=scale))
    output = network(torch.rand(2, bands, height, width))
    assert output.shape == (2, bands, scale * height, scale * width)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_without_weights_every_pixel_is_repeated(scale: int) -> None:
    network = CompactGenerator(CompactConfig(num_features=4, num_convs=1, scale=scale))
    with torch.no_grad():
        network.body[-1].weight.zero_()
        degraded = torch.rand(1, 3, 5, 6)
        repeated = degraded.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        assert torch.equal(network(degraded), repeated)


def test_the_network_is_the_published_formula() -> None:
    network = CompactGenerator(CompactConfig(num_features=4, num_convs=2, scale=2))
    weights = network.state_dict()
    degraded = torch.rand(1, 3, 6, 7)
    features = degraded
    for position in range(7):
        weight = weights[f"body.{position}.weight"]
        if position % 2:
            features = F.prelu(features, weight)
        else:
            bias = weights[f"body.{position}.bias"]
            features = F.conv2d(features, weight, bias, padding=1)
    expected = F.pixel_shuffle(features, 2) + F.interpolate(degraded, scale_factor=2)
    torch.testing.assert_close(network(degraded), expected)


def test_depth_does_not_damp_the_signal() -> None:
    torch.manual_seed(0)
    degraded = torch.rand(1, 3, 16, 16)
    for convs in (2, 16):
        network = CompactGenerator(CompactConfig(num_features=32, num_convs=convs, scale=1))
        with torch.no_grad():
            assert 0.1 < (network(degraded) - degraded).std() < 10
