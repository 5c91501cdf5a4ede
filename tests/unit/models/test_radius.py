import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.errors import CheckpointError
from ganray.models.compact import CompactConfig, CompactGenerator
from ganray.models.radius import measure_radius


class Shuffled(nn.Module):
    """Works on blocks of 2x2 pixels; wider horizontally than vertically."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(12, 12, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        rows = F.interpolate(x, scale_factor=2.0)
        return F.pixel_shuffle(self.conv(F.pixel_unshuffle(rows, 2)), 2)


class Pooled(nn.Module):
    """Every output depends on every input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x.mean(dim=(2, 3), keepdim=True)


def reach_of_one_pixel(generator: nn.Module, scale: int, side: int) -> int:
    """How far, in input pixels, the output changes when the middle pixel does."""
    generator = generator.double()
    image = torch.rand(1, 3, side, side, dtype=torch.float64)
    changed = image.clone()
    changed[:, :, side // 2, side // 2] += 1
    with torch.no_grad():
        difference = (generator(image) - generator(changed)).abs().amax(dim=(0, 1))
    blocks = F.max_pool2d(difference[None], scale)[0].nonzero() - side // 2
    return int(blocks.abs().max())


@pytest.mark.parametrize(("convs", "radius"), [(16, 18), (32, 34)])
def test_published_compact_networks_have_their_known_radius(convs: int, radius: int) -> None:
    network = CompactGenerator(CompactConfig(num_features=64, num_convs=convs, scale=4))
    assert measure_radius(network, bands=3, scale=4) == radius


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 20), st.sampled_from([1, 2, 3, 4]))
def test_each_convolution_adds_one_pixel(convs: int, scale: int) -> None:
    network = CompactGenerator(CompactConfig(num_features=2, num_convs=convs, scale=scale))
    assert measure_radius(network, bands=3, scale=scale) == convs + 2


@pytest.mark.parametrize("scale", [1, 2])
def test_no_change_of_a_pixel_reaches_further_than_the_radius(scale: int) -> None:
    network = CompactGenerator(CompactConfig(num_features=8, num_convs=2, scale=scale))
    radius = measure_radius(network, bands=3, scale=scale)
    assert reach_of_one_pixel(network, scale, side=4 * radius) == radius


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 3, 5, 7]), st.integers(1, 3)), max_size=5))
def test_kernels_and_dilations_add_up(layers: list[tuple[int, int]]) -> None:
    reaches = [(kernel - 1) // 2 * dilation for kernel, dilation in layers]
    network = nn.Sequential(
        *(
            nn.Conv2d(1, 1, kernel, padding=reach, dilation=dilation)
            for (kernel, dilation), reach in zip(layers, reaches, strict=True)
        )
    )
    assert measure_radius(network, bands=1, scale=1) == sum(reaches)


def test_the_wider_axis_counts() -> None:
    # A block of 2x2 at double size is one input pixel; the convolution takes its neighbours in.
    assert measure_radius(Shuffled(), bands=3, scale=2) == 1


def test_weights_that_are_zero_or_cancel_do_not_shrink_the_radius() -> None:
    network = CompactGenerator(CompactConfig(num_features=4, num_convs=1, scale=2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert measure_radius(network, bands=3, scale=2) == 3
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_network_that_sees_the_whole_image_is_refused() -> None:
    with pytest.raises(CheckpointError, match="reaches beyond 1024 pixels"):
        measure_radius(Pooled(), bands=3, scale=1)
