import math
from typing import Any

import pytest
import torch
from skimage import data
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.errors import CheckpointError
from ganray.models.channels import map_inputs, map_outputs
from ganray.models.checkpoint import (
    Checkpoint,
    Provenance,
    build_generator,
    decode_checkpoint,
    encode_checkpoint,
    load_checkpoint,
)
from ganray.models.layout import Layout
from ganray.models.transfer import transfer
from tests.unit.models.test_generators import MASKED, TINY


def checkpoint(name: str, **options: Any) -> Checkpoint:
    torch.manual_seed(1)
    generator, network = build_generator(name, TINY[name] | options)
    data = encode_checkpoint(generator, name, network, Provenance("noise", {}))
    return decode_checkpoint(data, name)


def fresh(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(2)
    generator, _ = build_generator(name, TINY[name] | options)
    return generator.eval()


def photograph() -> Tensor:
    image = torch.from_numpy(data.astronaut()[:240, :240].copy())
    return image.permute(2, 0, 1)[None] / 255


def psnr(result: Tensor, reference: Tensor) -> float:
    return -10 * math.log10((result.detach().clamp(0, 1) - reference).square().mean())


@pytest.mark.parametrize("name", TINY)
def test_the_same_network_is_copied_exactly(name: str) -> None:
    start, generator = checkpoint(name), fresh(name)
    report = transfer(start, generator)
    assert report.is_exact and str(report) == f"all {len(generator.state_dict())} tensors copied"
    image = torch.rand(1, 3, 12, 8)
    assert torch.equal(generator(image), start.generator(image))


@pytest.mark.parametrize("name", MASKED)
def test_a_new_mask_changes_nothing_at_first(name: str) -> None:
    start, generator = checkpoint(name), fresh(name, mask=True)
    report = transfer(start, generator)
    assert report.changes == ("the mask starts without weight",) and not report.left
    image, mask = torch.rand(1, 3, 9, 8), torch.rand(1, 1, 9, 8).round()
    found = generator(torch.cat([image, mask], 1))
    torch.testing.assert_close(found, start.generator(image))
    back = fresh(name)
    assert transfer(_as_checkpoint(start, generator), back).changes == ("the mask is gone",)
    torch.testing.assert_close(back(image), start.generator(image))


def _as_checkpoint(start: Checkpoint, generator: nn.Module) -> Checkpoint:
    config = start.network.model_copy(update={"mask": True})
    content = encode_checkpoint(generator, start.architecture, config, Provenance("noise", {}))
    return decode_checkpoint(content, "memory")


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3), (3, 5), (5, 3)])
def test_other_bands_of_a_gray_image_are_restored_as_before(name: str, old: int, new: int) -> None:
    start, generator = checkpoint(name, bands=old), fresh(name, bands=new)
    report = transfer(start, generator)
    assert not (report.left or report.unused) and len(report.changes) == 1
    gray = torch.rand(1, 1, 9, 8)
    before = start.generator(gray.expand(-1, old, -1, -1))
    after = generator(gray.expand(-1, new, -1, -1))
    if name == "srresnet":
        # Its bands are squeezed into 0-1 each, before which they are not seen.
        before, after = torch.logit(before.double()), torch.logit(after.double())
    kept = min(old, new)
    expected = before.mean(1, keepdim=True) if new == 1 else before[:, :kept]
    torch.testing.assert_close(after[:, :kept], expected, rtol=1e-3, atol=1e-4)
    if new > old:
        mean = before.mean(1, keepdim=True).expand(-1, new - old, -1, -1)
        torch.testing.assert_close(after[:, old:], mean, rtol=1e-3, atol=1e-4)


def test_a_fourfold_generator_starts_better_than_bicubic_from_a_twofold_one() -> None:
    reference = photograph()
    degraded = F.interpolate(reference, size=(60, 60), mode="bicubic", antialias=True).clamp(0, 1)
    start = load_checkpoint("compact-x2")
    generator, _ = build_generator("compact", {"scale": 4})
    untrained = psnr(generator(degraded), reference)
    report = transfer(start, generator)
    bicubic = psnr(F.interpolate(degraded, scale_factor=4, mode="bicubic"), reference)
    assert psnr(generator(degraded), reference) > bicubic > untrained + 5
    assert report.adapted == ("body.18.weight", "body.18.bias")
    assert "2 adapted (body.18.weight, body.18.bias); x2 became x4" in str(report)


@pytest.mark.parametrize(("old", "new"), [(2, 4), (4, 2), (3, 4), (1, 3), (4, 1)])
def test_another_scale_keeps_a_constant(old: int, new: int) -> None:
    start, generator = checkpoint("span", scale=old), fresh("span", scale=new)
    transfer(start, generator)
    with torch.no_grad():
        for network in (start.generator, generator):
            network.upsampler[0].weight.zero_()
        start.generator.upsampler[0].bias.copy_(torch.arange(3.0).repeat_interleave(old**2))
    again = fresh("span", scale=new)
    transfer(start, again)
    result = again(torch.rand(1, 3, 4, 5))
    torch.testing.assert_close(result, torch.arange(3.0).reshape(1, 3, 1, 1).expand_as(result))


def test_a_wider_network_begins_with_the_function_of_the_narrow_one() -> None:
    for name in ("compact", "unet"):
        start, generator = checkpoint(name), fresh(name, num_features=7)
        report = transfer(start, generator)
        assert report.adapted and not report.left
        image = torch.rand(1, 3, 8, 8)
        torch.testing.assert_close(generator(image), start.generator(image))


def test_a_deeper_network_says_what_it_has_of_its_own() -> None:
    start, generator = checkpoint("compact"), fresh("compact", num_convs=4)
    report = transfer(start, generator)
    assert [name for name in report.left if name.endswith("weight")] == [
        *("body.6.weight", "body.7.weight", "body.8.weight", "body.9.weight"),
    ]
    assert report.unused == () and "body.10.weight" in report.copied
    shallow = fresh("compact", num_convs=1)
    report = transfer(start, shallow)
    assert report.unused == ("body.4.weight", "body.4.bias", "body.5.weight")
    assert torch.equal(shallow.body[-1].weight, start.generator.body[-1].weight)


@pytest.mark.parametrize(("old", "new"), [(False, True), (True, False)])
def test_centring_of_the_input_goes_into_the_first_convolution(old: bool, new: bool) -> None:
    start, generator = checkpoint("span", centred=old), fresh("span", centred=new)
    with torch.no_grad():
        start.generator.conv_1.weight.mul_(1 / 255 if old else 1)
    report = transfer(start, generator)
    assert report.adapted == ("conv_1.weight", "conv_1.bias") and not report.left
    assert "the input is" in str(report) and not report.is_exact
    image = torch.rand(1, 3, 40, 40)
    found, expected = (
        network(image)[..., 64:96, 64:96] for network in (generator, start.generator)
    )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_a_centred_network_keeps_its_first_convolution_in_another_centred_one() -> None:
    start, generator = checkpoint("span", centred=True), fresh("span", centred=True, scale=2)
    assert "conv_1.weight" in transfer(start, generator).copied


@pytest.mark.parametrize(("old", "new"), [(2, 4), (4, 2)])
def test_levels_of_a_unet_are_those_of_the_same_resolution(old: int, new: int) -> None:
    start, generator = checkpoint("unet", num_levels=old), fresh("unet", num_levels=new)
    report = transfer(start, generator)
    assert report.changes[0].startswith(f"{old} levels became {new}")
    assert not report.adapted and any(name.startswith("middle.") for name in report.left)
    for level in range(min(old, new)):
        for pairs in ("before", "down"):
            assert_same(getattr(generator, pairs)[level], getattr(start.generator, pairs)[level])
        for pairs in ("up", "after"):
            found, expected = (getattr(net, pairs) for net in (generator, start.generator))
            assert_same(found[new - 1 - level], expected[old - 1 - level])
    added = [name for name in report.left if not name.startswith("middle.")]
    assert bool(added) == (new > old)


def assert_same(found: nn.Module, expected: nn.Module) -> None:
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)


@pytest.mark.parametrize("name", ["compact", "unet"])
def test_a_narrower_network_says_that_channels_are_dropped(name: str) -> None:
    start, generator = checkpoint(name, num_features=8), fresh(name, num_features=4)
    report = transfer(start, generator)
    assert report.changes == ("8 channels became 4: the others are dropped",)
    assert report.changes[0] in str(report)
    assert transfer(checkpoint(name, num_features=4), fresh(name, num_features=8)).changes == ()


def test_dense_blocks_of_another_width_are_left() -> None:
    start, generator = checkpoint("rrdb"), fresh("rrdb", growth=3)
    before = {name: t.clone() for name, t in generator.state_dict().items()}
    report = transfer(start, generator)
    assert "body.0.rdb1.conv2.weight" in report.left and "conv_first.weight" in report.copied
    assert all(torch.equal(generator.state_dict()[name], before[name]) for name in report.left)
    assert f"{len(report.left)} left at their random start" in str(report)


def test_an_unshuffling_network_starts_with_the_mean_of_its_blocks() -> None:
    start, generator = checkpoint("rrdb", scale=4), fresh("rrdb", scale=2)
    report = transfer(start, generator)
    assert report.changes == ("input blocks of 1 pixels became blocks of 2",)
    small = torch.rand(1, 3, 5, 4)
    large = F.interpolate(small, scale_factor=2)
    torch.testing.assert_close(generator(large), start.generator(small))


@pytest.mark.parametrize(("old", "new"), [("srresnet", "rrdb"), ("compact", "unet")])
def test_a_file_of_another_network_is_refused_and_changes_nothing(old: str, new: str) -> None:
    generator = fresh(new)
    before = {name: t.clone() for name, t in generator.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"another network: {old} with"):
        transfer(checkpoint(old), generator)
    assert all(torch.equal(tensor, before[n]) for n, tensor in generator.state_dict().items())


def test_maps_keep_a_constant_whatever_changes() -> None:
    layouts = [
        Layout("a", "b", bands=bands, images=images, block=block, phases=phases)
        for bands, images, block, phases in [(3, 1, 1, 4), (1, 8, 1, 2), (5, 1, 2, 1), (2, 3, 4, 3)]
    ]
    for before in layouts:
        for after in layouts:
            for made in (map_inputs(before, after), map_outputs(before, after)):
                torch.testing.assert_close(made.sum(1), torch.ones(len(made)))
                assert (made >= 0).all()
        same = map_inputs(before, before)
        assert torch.equal(same, torch.eye(len(same)))
