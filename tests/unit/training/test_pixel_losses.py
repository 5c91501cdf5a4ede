import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_msssim import ms_ssim
from pytorch_msssim.ssim import _ssim
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ganray.training.pixel_losses import MS_SSIM_WEIGHTS, charbonnier, l1, ms_ssim_loss

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


@few_examples
@given(seeds)
def test_l1_is_its_formula(seed: int) -> None:
    y, x = np.random.default_rng(seed).random((2, 2, 3, 4, 5))
    expected = np.mean(np.abs(y - x))
    assert float(l1(torch.tensor(y), torch.tensor(x))) == pytest.approx(expected)


def alike(side: int, noise: float, bands: int = 3) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(side)
    steps = rng.normal(0, 0.05, (2, bands, side, side)).cumsum(2).cumsum(3)
    x = (steps - steps.min()) / (steps.max() - steps.min())
    y = x + rng.normal(0, noise, x.shape)
    return torch.tensor(y, dtype=torch.float32), torch.tensor(x, dtype=torch.float32)


def exact_window() -> Tensor:
    """That of pytorch_msssim in float64: its own, in float32, does not sum to 1 in every digit."""
    window = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    return torch.tensor(window / window.sum()).repeat(3, 1, 1, 1)


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_ms_ssim_is_that_of_pytorch_msssim_where_five_scales_fit(noise: float) -> None:
    y, x = alike(192, noise)
    expected = ms_ssim(
        y.double(), x.double(), data_range=1, weights=list(MS_SSIM_WEIGHTS), win=exact_window()
    )
    torch.testing.assert_close(ms_ssim_loss(y, x), 1 - expected.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("side", "num_scales"), [(64, 3), (96, 4), (22, 2), (21, 1)])
def test_a_smaller_patch_has_the_scales_that_fit_with_weights_of_the_same_sum(
    side: int, num_scales: int
) -> None:
    y, x = alike(side, 0.05)
    kept = np.array(MS_SSIM_WEIGHTS[:num_scales])
    one, other, expected = y.double(), x.double(), 1.0
    for scale, weight in enumerate(kept / kept.sum() * sum(MS_SSIM_WEIGHTS)):
        similarity, contrast = _ssim(one, other, win=exact_window(), data_range=1)
        term = similarity if scale == num_scales - 1 else contrast
        expected = expected * term**weight
        one, other = avg_pool2d(one, 2), avg_pool2d(other, 2)
    torch.testing.assert_close(ms_ssim_loss(y, x), 1 - expected.mean().float(), rtol=0, atol=1e-6)


def test_one_scale_is_the_ssim_of_scikit_image() -> None:
    y, x = alike(20, 0.05, bands=1)
    expected = [
        structural_similarity(
            one[0].double().numpy(),
            other[0].double().numpy(),
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for one, other in zip(y, x, strict=True)
    ]
    assert float(ms_ssim_loss(y, x)) == pytest.approx(1 - np.mean(expected), abs=1e-4)


@pytest.mark.parametrize("bands", [1, 3, 5])
@pytest.mark.parametrize("side", [5, 10, 24, 64])
def test_ms_ssim_of_equals_is_0_with_a_finite_gradient(bands: int, side: int) -> None:
    x = alike(side, 0, bands)[1].requires_grad_()
    loss = ms_ssim_loss(x, x.detach().clone())
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    assert x.grad is not None and x.grad.isfinite().all()


def test_ms_ssim_of_opposites_has_a_finite_gradient() -> None:
    """Where structure is inverted, the means are negative, which have no real power."""
    x = alike(64, 0)[1]
    y = (1 - x).requires_grad_()
    loss = ms_ssim_loss(y, x)
    loss.backward()
    assert 0.5 < float(loss.detach()) <= 1
    assert y.grad is not None and y.grad.isfinite().all()


def test_descent_by_ms_ssim_brings_a_restoration_closer() -> None:
    y, x = alike(32, 0.1)
    y.requires_grad_()
    optimizer = torch.optim.Adam([y], 0.01)
    before = float(ms_ssim_loss(y, x).detach())
    for _ in range(20):
        optimizer.zero_grad()
        ms_ssim_loss(y, x).backward()
        optimizer.step()
    assert float(ms_ssim_loss(y, x).detach()) < before / 2
