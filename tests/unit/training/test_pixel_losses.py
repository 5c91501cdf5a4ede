import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ganray.training.pixel_losses import charbonnier

few_examples = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**31)


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
