import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.training.adversarial_losses import ADVERSARIAL

few_examples = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**31)


def logits(seed: int, spread: float = 5) -> tuple[np.ndarray, np.ndarray]:
    real, fake = np.random.default_rng(seed).normal(0, spread, (2, 2, 1, 3, 4))
    return real, fake


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -x)


def formulas(real: np.ndarray, fake: np.ndarray) -> dict[str, tuple[float, float]]:
    """Of each game the discriminator's and the generator's loss."""
    return {
        "relativistic": (-log_sigmoid(real - fake).mean(), -log_sigmoid(fake - real).mean()),
        "nonsaturating": (
            -log_sigmoid(real).mean() - log_sigmoid(-fake).mean(),
            -log_sigmoid(fake).mean(),
        ),
        "hinge": (
            -np.minimum(0, real - 1).mean() - np.minimum(0, -fake - 1).mean(),
            -fake.mean(),
        ),
        "least_squares": (
            0.5 * np.mean((real - 1) ** 2) + 0.5 * np.mean(fake**2),
            0.5 * np.mean((fake - 1) ** 2),
        ),
        "wasserstein": (fake.mean() - real.mean(), -fake.mean()),
    }


@pytest.mark.parametrize("name", ADVERSARIAL)
@few_examples
@given(seeds)
def test_a_game_is_its_formulas(name: str, seed: int) -> None:
    real, fake = logits(seed)
    x, y = torch.tensor(real), torch.tensor(fake)
    of_discriminator, of_generator = formulas(real, fake)[name]
    assert float(ADVERSARIAL[name].discriminator(x, y)) == pytest.approx(of_discriminator)
    assert float(ADVERSARIAL[name].generator(x, y)) == pytest.approx(of_generator)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_players_want_opposite_things(name: str) -> None:
    # Between 0 and 1, where neither the hinge nor the squares have reached their goal.
    drawn = np.random.default_rng(0).random((2, 2, 1, 3, 4))
    real, fake = (torch.tensor(part, requires_grad=True) for part in drawn)
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
