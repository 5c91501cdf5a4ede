import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional as F

from ganray.models.rrdb import RRDBConfig, RRDBNet
from tests.unit.models.published import rrdb_names, rrdb_output, rrdb_tensors

NAMES = rrdb_names("BasicSR", blocks=1, ups=2)


def small(**options: object) -> RRDBNet:
    values = {"num_features": 4, "growth": 2, "num_blocks": 1} | options
    return RRDBNet(RRDBConfig.model_validate(values))


@pytest.mark.parametrize(
    ("options", "num_tensors", "num_parameters"),
    [
        ({}, 702, 16_697_987),
        ({"scale": 2}, 702, 16_703_171),
        ({"num_blocks": 6}, 192, 4_467_779),
        ({"in_bands": 24}, 702, 16_710_083),
    ],
)
def test_published_networks_have_their_known_size(
    options: dict[str, int], num_tensors: int, num_parameters: int
) -> None:
    with torch.device("meta"):
        network = RRDBNet(RRDBConfig.model_validate(options))
    assert len(network.state_dict()) == num_tensors
    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters


@pytest.mark.parametrize(("scale", "side"), [(4, 1), (2, 2), (1, 4)])
def test_the_network_is_the_published_formula(scale: int, side: int) -> None:
    tensors = rrdb_tensors(NAMES, channels=3 * side**2)
    network = small(scale=scale)
    network.load_state_dict(tensors)
    degraded = torch.rand(2, 3, 8, 12)
    expected = rrdb_output(tensors, NAMES, F.pixel_unshuffle(degraded, side))
    torch.testing.assert_close(network(degraded), expected)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))
def test_the_output_is_the_input_magnified_by_the_scale(
    scale: int, bands: int, height: int, width: int
) -> None:
    network = small(scale=scale, bands=bands)
    output = network(torch.rand(2, bands, height, width))
    assert output.shape == (2, bands, scale * height, scale * width)


@pytest.mark.parametrize(("scale", "side"), [(2, 2), (1, 4)])
def test_sides_that_are_no_whole_blocks_are_mirrored_and_cut(scale: int, side: int) -> None:
    network = small(scale=scale)
    degraded = torch.rand(1, 3, 2 * side + 1, 3 * side - 1)
    padded = F.pad(degraded, (0, 1, 0, side - 1), mode="reflect")
    expected = network(padded)[:, :, : scale * (2 * side + 1), : scale * (3 * side - 1)]
    torch.testing.assert_close(network(degraded), expected)


def test_a_network_for_several_images_repeats_a_single_one() -> None:
    network = small(in_bands=12)
    image = torch.rand(1, 3, 6, 6)
    torch.testing.assert_close(network(image), network(image.repeat(1, 4, 1, 1)))
    other = torch.cat((image.repeat(1, 3, 1, 1), torch.rand(1, 3, 6, 6)), 1)
    assert network(other).shape == (1, 3, 24, 24)
    assert not torch.allclose(network(other), network(image))


def test_input_bands_follow_the_bands_and_blocks_follow_the_scale() -> None:
    found = {scale: RRDBConfig(bands=4, scale=scale) for scale in (1, 2, 4, 8)}
    assert {config.in_bands for config in found.values()} == {4}
    assert {scale: config.alignment for scale, config in found.items()} == {1: 4, 2: 2, 4: 1, 8: 1}
    assert [config.num_upsamplings for config in found.values()] == [2, 2, 2, 3]


def test_a_configuration_survives_its_own_values() -> None:
    config = RRDBConfig(scale=2, unshuffle=1, bands=1, in_bands=4)
    assert RRDBConfig.model_validate(config.model_dump(mode="json")) == config
    assert config.num_upsamplings == 1


def test_input_bands_that_are_no_whole_images_are_refused() -> None:
    with pytest.raises(ValidationError, match="in_bands 7 is no multiple of bands 3"):
        RRDBConfig(in_bands=7)
    with pytest.raises(ValidationError, match="valid dictionary"):
        RRDBConfig.model_validate("rrdb")


def test_images_moved_by_whole_blocks_give_the_same_result_moved() -> None:
    torch.manual_seed(0)
    network = small(scale=2).double()
    image = torch.rand(1, 3, 200, 4, dtype=torch.float64)
    whole, part = network(image)[:, :, 200:220], network(image[:, :, 20:180])[:, :, 160:180]
    torch.testing.assert_close(whole, part)
    shifted = network(image[:, :, 21:181])[:, :, 158:178]
    assert not torch.allclose(whole, shifted)
