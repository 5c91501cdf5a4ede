"""What holds for every generator that ganray builds itself."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganray.models.catalog import GENERATORS
from ganray.models.checkpoint import (
    Provenance,
    build_generator,
    decode_checkpoint,
    digest_generator,
    encode_checkpoint,
    find_radius,
)
from ganray.models.span import fold

TINY: dict[str, dict[str, Any]] = {
    "compact": {"num_features": 4, "num_convs": 2},
    "rrdb": {"num_features": 4, "growth": 2, "num_blocks": 1},
    "srresnet": {"num_features": 4, "num_blocks": 1},
    "span": {"num_features": 4, "num_blocks": 2},
    "unet": {"num_features": 2, "num_levels": 2},
}
SCALES = {"compact": (1, 2, 3, 4), "rrdb": (1, 2, 4), "srresnet": (1, 2, 4), "span": (1, 2, 3, 4)}
EVERY_SCALE = [(name, scale) for name in TINY for scale in SCALES.get(name, (1,))]
MASKED = [name for name in TINY if "mask" in GENERATORS[name].config.model_fields]
PROVENANCE = Provenance("noise", {})


def build(name: str, **options: Any) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    return build_generator(name, TINY[name] | options)


def lively(network: nn.Module) -> nn.Module:
    """The network with weights that let every change through: positive, of different sizes."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            size = 1 / parameter.shape[1:].numel()
            parameter.copy_((0.5 + torch.rand(parameter.shape, generator=rng)) * size)
    return network


def test_every_generator_but_those_of_files_has_its_tiny_twin_here() -> None:
    assert TINY.keys() == GENERATORS.keys() - {"spandrel"}
    assert MASKED == ["compact", "rrdb", "span", "unet"]


@pytest.mark.parametrize(("name", "scale"), EVERY_SCALE)
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_the_output_is_the_input_magnified_by_the_scale(name: str, scale: int, bands: int) -> None:
    network, _ = build(name, bands=bands, scale=scale)
    for height, width in ((1, 1), (7, 10), (9, 4)):
        output = network(torch.rand(2, bands, height, width))
        assert output.shape == (2, bands, scale * height, scale * width)
        assert output.isfinite().all()


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_is_seen_and_added_to_nothing(name: str) -> None:
    network, config = build(name, mask=True, bands=2)
    degraded = torch.rand(1, 2, 9, 11)
    masks = [torch.zeros(1, 1, 9, 11), torch.ones(1, 1, 9, 11)]
    outputs = [network(torch.cat([degraded, mask], 1)) for mask in masks]
    assert outputs[0].shape == (1, 2, 9 * config.scale, 11 * config.scale)
    assert not torch.allclose(outputs[0], outputs[1])
    first = network.get_submodule(network.layout.first)
    with torch.no_grad():
        # The mask's channels are the last ones; without their weights nothing of it is left.
        first.weight[:, -first.in_channels // 3 :] = 0
    outputs = [network(torch.cat([degraded, mask], 1)) for mask in masks]
    assert torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize(("name", "scale"), EVERY_SCALE)
def test_a_pixel_beyond_the_radius_changes_nothing_and_one_within_does(
    name: str, scale: int
) -> None:
    network, config = build(name, scale=scale, bands=1)
    radius = find_radius(network, name, config)
    network = lively(network).double().eval()
    side = getattr(config, "alignment", 1)
    middle = -(-(radius + side) // side) * side
    strip = torch.rand(1, 1, 2 * middle + side, side, dtype=torch.float64)
    reaches = []
    for pixel in range(middle, middle + side):
        changed = strip.clone()
        # So much that what is left of it at the rim is not lost in rounding.
        changed[:, :, pixel] += 1e40
        with torch.no_grad():
            difference = (network(strip) - network(changed)).abs().amax((0, 1, 3))
        rows = difference.reshape(-1, scale).amax(1).nonzero()
        reaches.append(int((rows - pixel).abs().max()))
    assert max(reaches) == radius


@pytest.mark.parametrize(
    ("name", "mask"), [*((name, False) for name in TINY), *((name, True) for name in MASKED)]
)
def test_a_checkpoint_gives_the_same_output(name: str, mask: bool) -> None:
    network, config = build(name, **({"mask": True} if mask else {}))
    data = encode_checkpoint(network.eval(), name, config, PROVENANCE)
    loaded = decode_checkpoint(data, "memory")
    assert (loaded.network, loaded.takes_mask, loaded.bands) == (config, mask, 3)
    image = torch.rand(1, 3 + mask, 8, 12)
    assert torch.equal(loaded.generator(image), network(image))


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_is_part_of_the_digest_and_its_absence_is_not(name: str) -> None:
    network, config = build(name)
    digest = digest_generator(network, name, config)
    assert digest_generator(network, name, config.model_copy(update={"mask": True})) != digest
    absent = config.model_dump_json(exclude={"mask"})
    assert "mask" not in absent and type(config).model_validate_json(absent) == config


@pytest.mark.parametrize("name", TINY)
def test_every_parameter_learns(name: str) -> None:
    network, config = build(name, num_features=8)
    network(torch.rand(2, 3, 16, 16)).square().mean().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert config.bands == 3


def test_a_default_unet_is_of_a_million_parameters_and_tiles_exactly() -> None:
    network, config = build_generator("unet", {})
    assert 1e6 < sum(p.numel() for p in network.parameters()) < 2e6
    assert find_radius(network, "unet", config) <= 64


def test_a_unet_begins_near_the_identity() -> None:
    network, _ = build("unet", num_features=24)
    image = torch.rand(1, 3, 32, 32)
    assert (network(image) - image).std() < 0.05


def test_published_spans_have_their_known_size() -> None:
    # Table 1 of the paper: 498 thousand parameters at x4 and 481 at x2, of 52 features.
    for scale, thousands in ((4, 498), (2, 481)):
        network, _ = build_generator("span", {"num_features": 52, "scale": scale})
        assert sum(p.numel() for p in network.parameters()) // 1000 == thousands


def test_a_folded_convolution_is_the_four_of_training() -> None:
    torch.manual_seed(0)
    row = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 10, 3), nn.Conv2d(10, 5, 1))
    beside = nn.Conv2d(3, 5, 1)
    tensors: dict[str, Tensor] = {f"a.conv.{k}": v for k, v in row.state_dict().items()}
    tensors |= {f"a.sk.{k}": v for k, v in beside.state_dict().items()}
    weight, bias = fold(tensors, "a")
    image = torch.rand(1, 3, 7, 6)
    expected = row(nn.functional.pad(image, (1, 1, 1, 1))) + beside(image)
    torch.testing.assert_close(nn.functional.conv2d(image, weight, bias, padding=1), expected)


def test_names_of_the_catalog_differ_in_their_tensors() -> None:
    names = [set(build(name)[0].state_dict()) for name in TINY]
    assert all(first != second for first, second in itertools.combinations(names, 2))
