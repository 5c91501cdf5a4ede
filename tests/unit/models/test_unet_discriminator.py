import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.models.unet_discriminator import UNetConfig, UNetDiscriminator


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 3]), st.integers(1, 3))
def test_every_pixel_gets_one_logit(rows: int, columns: int, bands: int, batch: int) -> None:
    network = UNetDiscriminator(UNetConfig(bands=bands, num_features=2))
    logits = network(torch.rand(batch, bands, 8 * rows, 8 * columns))
    assert logits.shape == (batch, 1, 8 * rows, 8 * columns)
    assert logits.isfinite().all()


def test_samples_of_a_batch_do_not_mix() -> None:
    network = UNetDiscriminator(UNetConfig(num_features=4))
    images = torch.rand(3, 3, 16, 24)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone, atol=1e-5, rtol=1e-4)


def test_a_logit_sees_the_coarsest_level_and_its_own_pixel() -> None:
    network = UNetDiscriminator(UNetConfig(num_features=4))
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(images)[0, 0, 32, 32], images)
    reach = gradient[0].abs().sum(0).nonzero() - 32
    # Three halvings and back see further than the few full-resolution convolutions would.
    assert reach.abs().max() > 8
    assert gradient[0, :, 32, 32].abs().sum() > 0


def test_every_parameter_has_a_part_in_the_logits() -> None:
    network = UNetDiscriminator(UNetConfig(num_features=4))
    network(torch.rand(1, 3, 16, 16)).sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_widths_double_at_each_of_three_levels() -> None:
    network = UNetDiscriminator(UNetConfig(bands=1, num_features=6))
    assert [conv.out_channels for conv in network.down] == [12, 24, 48]
    assert [conv.out_channels for conv in network.up] == [24, 12, 6]


def test_sides_that_eight_does_not_divide_are_refused() -> None:
    network = UNetDiscriminator(UNetConfig(num_features=2))
    with pytest.raises(RuntimeError, match="size of tensor"):
        network(torch.rand(1, 3, 12, 16))
