import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.models.foreign_keys import read_srresnet
from ganray.models.srresnet import SRResNet, SRResNetConfig
from tests.unit.models.published import srgan_output, srgan_tensors


def load(tensors: dict[str, torch.Tensor]) -> SRResNet:
    found = read_srresnet(tensors, {})
    assert found is not None
    network = SRResNet(SRResNetConfig.model_validate(found.options))
    network.load_state_dict(found.tensors)
    return network.eval()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("ups", [1, 2, 3])
def test_the_network_is_the_published_formula(ups: int, old: bool) -> None:
    tensors = srgan_tensors(ups=ups, old=old)
    degraded = torch.rand(2, 3, 7, 9)
    restored = load(tensors)(degraded)
    torch.testing.assert_close(restored, srgan_output(tensors, degraded, ups=ups))
    assert restored.min() >= 0 and restored.max() <= 1


def test_the_old_published_network_has_its_known_size() -> None:
    network = SRResNet(SRResNetConfig(trunk_end="prelu"))
    assert sum(parameter.numel() for parameter in network.parameters()) == 734_092
    # 79 tensors in the file, which is older than the ten counts of batches.
    assert len(network.state_dict()) == 79 + 10


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))
def test_the_output_is_the_input_magnified_by_the_scale(
    scale: int, bands: int, height: int, width: int
) -> None:
    options = {"bands": bands, "num_features": 2, "num_blocks": 1, "scale": scale}
    network = SRResNet(SRResNetConfig.model_validate(options)).eval()
    output = network(torch.rand(2, bands, height, width))
    assert output.shape == (2, bands, scale * height, scale * width)
