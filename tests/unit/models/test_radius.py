import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.errors import CheckpointError
from ganray.models.catalog import GENERATORS
from ganray.models.compact import CompactConfig, CompactGenerator
from ganray.models.radius import NUM_POSITIONS, measure_radius
from ganray.models.rrdb import RRDBConfig, RRDBNet
from ganray.models.srresnet import SRResNet, SRResNetConfig


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


class Normalised(nn.Module):
    """Layer normalisation and a saturating end, without which the reach would be that of `conv`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, padding=2)
        self.norm = nn.LayerNorm(8)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.norm(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return torch.sigmoid(100 * self.last(F.relu(features)))


class Windowed(nn.Module):
    """Mixes the pixels of every window of 8, and no others."""

    def forward(self, x: Tensor) -> Tensor:
        batch, bands, height, width = x.shape
        x = F.pad(x, (0, -width % 8, 0, -height % 8))
        windows = x.reshape(batch, bands, x.shape[2] // 8, 8, x.shape[3] // 8, 8)
        mixed = x + windows.mean(dim=(3, 5)).repeat_interleave(8, 2).repeat_interleave(8, 3)
        return mixed[:, :, :height, :width]


def reach_of_one_pixel(generator: nn.Module, scale: int, side: int, offset: int = 0) -> int:
    """How far, in input pixels, the output changes when a pixel of the middle does."""
    generator = generator.double().eval()
    image = torch.rand(1, 3, side, side, dtype=torch.float64)
    changed = image.clone()
    pixel = side // 2 + offset
    changed[:, :, pixel, pixel] += 1
    with torch.no_grad():
        difference = (generator(image) - generator(changed)).abs().amax(dim=(0, 1))
    blocks = F.max_pool2d(difference[None], scale)[0].nonzero() - pixel
    return int(blocks.abs().max())


def narrow(architecture: str, **options: object) -> nn.Module:
    choice = GENERATORS[architecture]
    values = options | dict.fromkeys(choice.narrow, 1)
    return choice.build(choice.config.model_validate(values))


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
    with pytest.raises(CheckpointError, match="reaches beyond 2048 pixels"):
        measure_radius(Pooled(), bands=3, scale=1)


@pytest.mark.parametrize(
    ("options", "radius"),
    [
        ({"num_blocks": 6}, 94),
        ({"num_blocks": 23}, 349),
        ({"num_blocks": 6, "in_bands": 24}, 94),
        # Half and a quarter of the resolution: as many blocks of two and four pixels.
        ({"num_blocks": 6, "scale": 2}, 188),
        ({"num_blocks": 23, "scale": 1}, 1396),
    ],
)
def test_published_rrdb_networks_have_their_known_radius(
    options: dict[str, int], radius: int
) -> None:
    network, scale = narrow("rrdb", **options), options.get("scale", 4)
    side = RRDBConfig.model_validate(options).alignment
    assert measure_radius(network, bands=3, scale=scale, num_positions=side) == radius


@pytest.mark.parametrize(("scale", "radius"), [(1, 19), (2, 18), (4, 18), (8, 18)])
@pytest.mark.parametrize("trunk_end", ["batch_norm", "prelu"])
def test_a_saturating_output_and_batch_norm_do_not_shrink_the_radius(
    scale: int, radius: int, trunk_end: str
) -> None:
    # 9x9 and eleven 3x3 before magnification; then 3x3 on halves, 9x9 on the last pixels.
    network = narrow("srresnet", scale=scale, trunk_end=trunk_end)
    assert measure_radius(network, bands=3, scale=scale) == radius


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("compact", {"num_features": 8, "num_convs": 3, "scale": 3}),
        ("rrdb", {"num_features": 6, "growth": 3, "num_blocks": 2, "scale": 4}),
        ("rrdb", {"num_features": 6, "growth": 3, "num_blocks": 1, "scale": 2}),
        ("srresnet", {"num_features": 6, "num_blocks": 2, "scale": 4}),
    ],
)
def test_a_narrow_twin_sees_as_far_as_the_network(
    architecture: str, options: dict[str, int]
) -> None:
    choice = GENERATORS[architecture]
    network = choice.build(choice.config.model_validate(options))
    scale = options["scale"]
    twin = narrow(architecture, **options)
    assert measure_radius(twin, bands=3, scale=scale) == measure_radius(
        network, bands=3, scale=scale
    )


@pytest.mark.parametrize(("scale", "side"), [(2, 2), (1, 4)])
def test_no_pixel_of_a_block_reaches_further_than_the_radius(scale: int, side: int) -> None:
    torch.manual_seed(scale)
    options = {"num_features": 4, "growth": 2, "num_blocks": 0, "scale": scale}
    network = RRDBNet(RRDBConfig.model_validate(options))
    radius = measure_radius(network, bands=3, scale=scale)
    reaches = [reach_of_one_pixel(network, scale, 8 * radius, n) for n in range(side)]
    assert radius == 4 * side
    assert max(reaches) == radius


def test_no_pixel_reaches_further_than_the_radius_of_a_saturating_network() -> None:
    torch.manual_seed(0)
    network = SRResNet(SRResNetConfig(num_features=4, num_blocks=1, scale=2))
    radius = measure_radius(network, bands=3, scale=2)
    assert reach_of_one_pixel(network, 2, side=3 * radius) == radius


def test_a_normalisation_hides_no_path() -> None:
    assert measure_radius(Normalised(), bands=3, scale=1) == 3


def test_windows_are_seen_from_their_edges() -> None:
    assert NUM_POSITIONS >= 8
    assert measure_radius(Windowed(), bands=3, scale=1) == 7
