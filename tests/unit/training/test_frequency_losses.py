import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ganray.training.frequency_losses import focal_frequency, wavelet

few_examples = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 2**31)
LOSSES = {"focal_frequency": focal_frequency, "wavelet": wavelet}


def images(seed: int, shape: tuple[int, ...] = (2, 3, 8, 6)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(shape, np.float32), rng.random(shape, np.float32)


@few_examples
@given(seeds)
def test_focal_frequency_is_its_formula(seed: int) -> None:
    y, x = images(seed)
    _, _, height, width = x.shape
    u, v = np.arange(height), np.arange(width)
    rows = np.exp(-2j * np.pi * np.outer(u, u) / height)
    columns = np.exp(-2j * np.pi * np.outer(v, v) / width)
    squares = []
    for error in (y.astype(float) - x).reshape(-1, height, width):
        distance = np.abs(rows @ error @ columns) / np.sqrt(height * width)
        squares.append(distance / distance.max() * distance**2)
    result = focal_frequency(torch.tensor(y), torch.tensor(x))
    assert float(result) == pytest.approx(np.mean(squares), rel=1e-4)


def test_an_error_at_one_frequency_has_its_full_weight() -> None:
    x = torch.zeros(1, 1, 8, 8)
    y = x + torch.tensor([1.0, -1.0]).repeat(4)
    assert float(focal_frequency(y, x)) == pytest.approx(float((y - x).square().mean()))


@few_examples
@given(seeds)
def test_wavelet_is_its_formula_by_convolution(seed: int) -> None:
    y, x = images(seed)
    low, high = np.array([0.5, 0.5]), np.array([0.5, -0.5])
    expected = []
    for error in (y.astype(float) - x).reshape(-1, 8, 6):
        for first, second in ((low, high), (high, low), (high, high)):
            expected.append([np.abs(correlate(error, first, second, 1)).mean()])
        coarse = correlate(error, low, low, 1)
        for first, second in ((low, high), (high, low), (high, high)):
            expected.append([np.abs(correlate(coarse, first, second, 2)).mean()])
    result = wavelet(torch.tensor(y), torch.tensor(x))
    assert float(result) == pytest.approx(np.mean(expected), rel=1e-4)


def correlate(image: np.ndarray, down: np.ndarray, across: np.ndarray, step: int) -> np.ndarray:
    height, width = image.shape
    return np.array(
        [
            [
                sum(
                    down[i] * across[j] * image[row + i * step, column + j * step]
                    for i in range(2)
                    for j in range(2)
                )
                for column in range(width - step)
            ]
            for row in range(height - step)
        ]
    )


def test_wavelet_does_not_see_a_shift_of_brightness() -> None:
    x = torch.tensor(images(0)[0])
    assert float(wavelet(x + 0.25, x)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_equals_have_a_loss_of_0_and_a_gradient_of_0(name: str) -> None:
    x = torch.tensor(images(0)[0])
    y: Tensor = x.clone().requires_grad_()
    loss = LOSSES[name](y, x)
    loss.backward()
    assert float(loss.detach()) == 0
    assert y.grad is not None and not y.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_a_mean_over_the_batch(name: str) -> None:
    y, x = (torch.tensor(part) for part in images(0))
    alone = [LOSSES[name](y[i : i + 1], x[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(LOSSES[name](y, x), torch.stack(alone).mean())
