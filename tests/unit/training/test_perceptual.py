import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ganray.training.perceptual import RandomFeatures, feature_matching, random_features


def images(bands: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = np.random.default_rng(seed).random((2, 2, bands, 16, 13), np.float32)
    return torch.tensor(drawn[0]), torch.tensor(drawn[1])


def test_feature_matching_is_its_formula_without_the_logits() -> None:
    rng = np.random.default_rng(0)
    real, fake = ([rng.random((2, c, 8, 8)) for c in (4, 7, 1)] for _ in range(2))
    expected = np.mean([np.abs(a - b).mean() for a, b in zip(real[:2], fake[:2], strict=True)])
    loss = feature_matching([torch.tensor(f) for f in real], [torch.tensor(f) for f in fake])
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_feature_matching_of_equals_is_0_and_moves_the_fake_side_alone() -> None:
    real = [torch.rand(2, 4, 8, 8, requires_grad=True) for _ in range(3)]
    fake = [f.detach().clone().requires_grad_() for f in real]
    loss = feature_matching(real, fake)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(f.grad is None for f in real)
    assert all(f.grad is not None and not f.grad.any() for f in fake[:-1])


def test_the_random_network_is_a_plain_one() -> None:
    network = RandomFeatures(3, seed=4)
    x, _ = images()
    expected, features = [], x - 0.5
    for block in network.blocks:
        first, _, second = block
        features = F.conv2d(features, first.weight, padding=1).clamp(min=0)
        features = F.conv2d(features, second.weight, padding=1)
        expected.append(features)
        features = F.max_pool2d(features.clamp(min=0), 2, ceil_mode=True)
    for found, known in zip(network(x), expected, strict=True):
        torch.testing.assert_close(found, known)


def test_the_random_network_follows_from_its_seed_and_draws_from_no_other() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second, other = (RandomFeatures(3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not torch.equal(first.blocks[0][0].weight, other.blocks[0][0].weight)


@pytest.mark.parametrize("bands", [1, 3, 7])
def test_random_features_take_any_bands_and_are_0_for_equals(bands: int) -> None:
    network = RandomFeatures(bands, seed=0)
    y, x = images(bands)
    seen, expected = network(y), network(x)
    by_hand = np.mean([float((a - b).abs().mean()) for a, b in zip(seen, expected, strict=True)])
    assert float(random_features(network)(y, x)) == pytest.approx(by_hand, rel=1e-5)
    same = x.clone().requires_grad_()
    loss = random_features(network)(same, x)
    loss.backward()
    assert float(loss.detach()) == 0
    assert same.grad is not None and not same.grad.any()
