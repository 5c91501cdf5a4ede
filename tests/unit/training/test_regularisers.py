import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ganray.training.regularisers import wasserstein_penalty, zero_centred_penalty

few_examples = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**31)


def smooth_discriminator() -> nn.Module:
    """Differentiable everywhere, periodic at its borders: the same at every position."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
        nn.Softplus(),
        nn.Conv2d(4, 1, 3, padding=1, padding_mode="circular"),
    )


def images(height: int = 6, width: int = 5, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((2, 3, height, width), np.float32))


@few_examples
@given(st.integers(1, 9), st.integers(1, 9), seeds)
def test_the_zero_centred_penalty_of_a_linear_discriminator_is_the_square_of_its_weights(
    height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    discriminator = nn.Conv2d(3, 1, 1)
    x = images(height, width)
    real, penalty = zero_centred_penalty(discriminator, x)
    torch.testing.assert_close(penalty, discriminator.weight.square().sum())
    torch.testing.assert_close(real, discriminator(x))


def test_the_zero_centred_penalty_is_its_formula_by_finite_differences() -> None:
    discriminator = smooth_discriminator()
    x = images()
    exact = copy.deepcopy(discriminator).double()
    step = 1e-5

    def mean_logit(image: Tensor) -> float:
        with torch.no_grad():
            return float(exact(image[None]).mean())

    squares = []
    for image in x.double():
        total = 0.0
        for position in range(image.numel()):
            shift = torch.zeros_like(image)
            shift.view(-1)[position] = step
            total += ((mean_logit(image + shift) - mean_logit(image - shift)) / (2 * step)) ** 2
        squares.append(total)
    expected = 6 * 5 * np.mean(squares)
    assert float(zero_centred_penalty(discriminator, x)[1].detach()) == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (1, 3), (4, 1)])
def test_the_zero_centred_penalty_does_not_depend_on_the_size_of_the_patch(
    rows: int, columns: int
) -> None:
    discriminator = smooth_discriminator()
    x = images()
    once = zero_centred_penalty(discriminator, x)[1]
    torch.testing.assert_close(
        zero_centred_penalty(discriminator, x.repeat(1, 1, rows, columns))[1], once
    )


def test_the_zero_centred_penalty_is_a_mean_over_the_batch() -> None:
    discriminator = smooth_discriminator()
    x = images()
    alone = [zero_centred_penalty(discriminator, image[None])[1] for image in x]
    torch.testing.assert_close(zero_centred_penalty(discriminator, x)[1], torch.stack(alone).mean())


def test_the_zero_centred_penalty_has_a_gradient_for_the_weights() -> None:
    discriminator = smooth_discriminator().double()
    # The penalty itself is computed in float32, on a copy of the weights of that type.
    weight = discriminator[2].weight

    def penalty_at(shift: float) -> Tensor:
        moved = copy.deepcopy(discriminator)
        with torch.no_grad():
            moved[2].weight[0, 0, 1, 1] += shift
        return zero_centred_penalty(moved.float(), images())[1].detach().double()

    single = copy.deepcopy(discriminator).float()
    zero_centred_penalty(single, images())[1].backward()
    expected = (penalty_at(1e-2) - penalty_at(-1e-2)) / 2e-2
    assert weight.dtype == torch.float64
    assert float(single[2].weight.grad[0, 0, 1, 1]) == pytest.approx(float(expected), rel=1e-2)


def test_the_zero_centred_penalty_is_in_float32_whatever_the_autocast() -> None:
    discriminator = smooth_discriminator()
    x = images()
    expected = zero_centred_penalty(discriminator, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert discriminator(x).dtype == torch.bfloat16
        result = zero_centred_penalty(discriminator, x)
    assert all(torch.equal(one, other) for one, other in zip(result, expected, strict=True))


def test_the_zero_centred_penalty_leaves_the_images_alone() -> None:
    x = images().requires_grad_()
    zero_centred_penalty(smooth_discriminator(), x)[1].backward()
    assert x.grad is None


def test_points_have_the_penalty_of_the_paper() -> None:
    """R1 of a scalar discriminator: E‖∇D‖², whatever the dimensions of its input."""
    torch.manual_seed(0)
    discriminator = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    points = torch.randn(5, 2)
    gradients = torch.stack(
        [torch.autograd.functional.jacobian(discriminator, point)[0] for point in points]
    )
    logits, penalty = zero_centred_penalty(discriminator, points)
    torch.testing.assert_close(penalty, gradients.square().sum(1).mean())
    torch.testing.assert_close(logits, discriminator(points))


def test_a_discriminator_of_one_logit_has_the_penalty_of_the_paper() -> None:
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(90, 1), nn.Unflatten(1, (1, 1, 1)))
    penalty = zero_centred_penalty(discriminator, images())[1]
    torch.testing.assert_close(penalty, discriminator[1].weight.square().sum())


@few_examples
@given(seeds)
def test_the_wasserstein_penalty_of_a_linear_critic_is_that_of_its_norm(seed: int) -> None:
    torch.manual_seed(seed)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(90, 1))
    penalty = wasserstein_penalty(critic, images(seed=1), images(seed=2), torch.rand(2))
    torch.testing.assert_close(penalty, (critic[1].weight.norm() - 1).square())


def test_the_wasserstein_penalty_is_taken_between_the_two() -> None:
    """D(x) = ½‖x‖² has the gradient x itself, so that the penalty tells where it was taken."""

    class HalfSquare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).square().sum(1, keepdim=True) / 2

    x, y, mix = images(seed=1), images(seed=2), torch.tensor([0.25, 1.0])
    at = [0.25 * x[0] + 0.75 * y[0], x[1]]
    expected = np.mean([(np.linalg.norm(point.numpy()) - 1) ** 2 for point in at])
    penalty = wasserstein_penalty(HalfSquare(), x, y, mix)
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (1, 3), (4, 1)])
def test_the_wasserstein_penalty_does_not_depend_on_the_size_of_the_patch(
    rows: int, columns: int
) -> None:
    discriminator, mix = smooth_discriminator(), torch.tensor([0.3, 0.8])
    x, y = images(seed=1), images(seed=2)
    once = wasserstein_penalty(discriminator, x, y, mix)
    larger = [part.repeat(1, 1, rows, columns) for part in (x, y)]
    torch.testing.assert_close(wasserstein_penalty(discriminator, *larger, mix), once)


def test_a_flat_critic_has_finite_gradients() -> None:
    critic = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softplus(), nn.Conv2d(4, 1, 1))
    nn.init.zeros_(critic[2].weight)
    penalty = wasserstein_penalty(critic, images(), images(seed=1), torch.rand(2))
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(1)
    assert all(
        weight.grad.isfinite().all() for weight in critic.parameters() if weight.grad is not None
    )
