import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ganray.training.losses import (
    ADVERSARIAL,
    charbonnier,
    gradient_penalty,
    nonsaturating_discriminator,
    nonsaturating_generator,
    relativistic_discriminator,
    relativistic_generator,
)

few_examples = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**31)


def logits(seed: int, spread: float = 5) -> tuple[np.ndarray, np.ndarray]:
    real, fake = np.random.default_rng(seed).normal(0, spread, (2, 2, 1, 3, 4))
    return real, fake


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -x)


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
@given(seeds)
def test_charbonnier_is_its_formula(seed: int) -> None:
    y, x = np.random.default_rng(seed).random((2, 2, 3, 4, 5))
    expected = np.mean(np.sqrt((y - x) ** 2 + 1e-6))
    assert float(charbonnier(torch.tensor(y), torch.tensor(x))) == pytest.approx(expected)


def test_charbonnier_of_equals_is_its_epsilon_and_has_a_gradient_of_zero() -> None:
    x = images().requires_grad_()
    loss = charbonnier(x, x.detach().clone())
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1e-3)
    assert x.grad is not None and not x.grad.any()


@few_examples
@given(seeds)
def test_the_adversarial_losses_are_their_formulas(seed: int) -> None:
    real, fake = logits(seed)
    x, y = torch.tensor(real), torch.tensor(fake)
    expected = {
        relativistic_discriminator: -log_sigmoid(real - fake).mean(),
        relativistic_generator: -log_sigmoid(fake - real).mean(),
        nonsaturating_discriminator: -log_sigmoid(real).mean() - log_sigmoid(-fake).mean(),
        nonsaturating_generator: -log_sigmoid(fake).mean(),
    }
    for loss, value in expected.items():
        assert float(loss(x, y)) == pytest.approx(value)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_players_want_opposite_things(name: str) -> None:
    real, fake = (torch.tensor(part, requires_grad=True) for part in logits(0))
    discriminator = torch.autograd.grad(ADVERSARIAL[name].discriminator(real, fake), [real, fake])
    assert (discriminator[0] < 0).all() and (discriminator[1] > 0).all()
    (generator,) = torch.autograd.grad(ADVERSARIAL[name].generator(real.detach(), fake), fake)
    assert (generator < 0).all()


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_losses_stay_finite_for_extreme_logits(name: str) -> None:
    far = torch.full((1, 1, 2, 2), 1e4)
    for real, fake in ((far, -far), (-far, far)):
        assert ADVERSARIAL[name].discriminator(real, fake).isfinite()
        assert ADVERSARIAL[name].generator(real, fake).isfinite()


@few_examples
@given(st.integers(1, 9), st.integers(1, 9), seeds)
def test_the_penalty_of_a_linear_discriminator_is_the_square_of_its_weights(
    height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    discriminator = nn.Conv2d(3, 1, 1)
    x = images(height, width)
    real, penalty = gradient_penalty(discriminator, x)
    torch.testing.assert_close(penalty, discriminator.weight.square().sum())
    torch.testing.assert_close(real, discriminator(x))


def test_the_penalty_is_its_formula_by_finite_differences() -> None:
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
    assert float(gradient_penalty(discriminator, x)[1].detach()) == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (1, 3), (4, 1)])
def test_the_penalty_does_not_depend_on_the_size_of_the_patch(rows: int, columns: int) -> None:
    discriminator = smooth_discriminator()
    x = images()
    once = gradient_penalty(discriminator, x)[1]
    torch.testing.assert_close(
        gradient_penalty(discriminator, x.repeat(1, 1, rows, columns))[1], once
    )


def test_the_penalty_is_a_mean_over_the_batch() -> None:
    discriminator = smooth_discriminator()
    x = images()
    alone = [gradient_penalty(discriminator, image[None])[1] for image in x]
    torch.testing.assert_close(gradient_penalty(discriminator, x)[1], torch.stack(alone).mean())


def test_the_penalty_has_a_gradient_for_the_weights() -> None:
    discriminator = smooth_discriminator().double()
    # The penalty itself is computed in float32, on a copy of the weights of that type.
    weight = discriminator[2].weight

    def penalty_at(shift: float) -> Tensor:
        moved = copy.deepcopy(discriminator)
        with torch.no_grad():
            moved[2].weight[0, 0, 1, 1] += shift
        return gradient_penalty(moved.float(), images())[1].detach().double()

    single = copy.deepcopy(discriminator).float()
    gradient_penalty(single, images())[1].backward()
    expected = (penalty_at(1e-2) - penalty_at(-1e-2)) / 2e-2
    assert weight.dtype == torch.float64
    assert float(single[2].weight.grad[0, 0, 1, 1]) == pytest.approx(float(expected), rel=1e-2)


def test_the_penalty_is_in_float32_whatever_the_autocast() -> None:
    discriminator = smooth_discriminator()
    x = images()
    expected = gradient_penalty(discriminator, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert discriminator(x).dtype == torch.bfloat16
        result = gradient_penalty(discriminator, x)
    assert all(torch.equal(one, other) for one, other in zip(result, expected, strict=True))


def test_the_penalty_leaves_the_images_alone() -> None:
    x = images().requires_grad_()
    gradient_penalty(smooth_discriminator(), x)[1].backward()
    assert x.grad is None
