import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve as direct
from scipy.ndimage import gaussian_filter

from ganray.degradation.blur import (
    SMALLEST_PART,
    Blur,
    Defocus,
    Motion,
    Sinc,
    blur,
    defocus,
    motion,
    reach,
    sinc,
)
from ganray.degradation.convolution import convolve, normalised
from tests.unit.degradation.streams import make_draws, noise

few_examples = settings(max_examples=15, deadline=None)


def dot(number: int = 1, side: int = 63) -> torch.Tensor:
    pixels = torch.zeros(number, 1, side, side)
    pixels[..., side // 2, side // 2] = 1
    return pixels


def widths(pixels: torch.Tensor) -> tuple[float, float]:
    """Standard deviations of a blurred dot along its longest and shortest axis."""
    side = pixels.shape[-1]
    places = torch.arange(side, dtype=torch.float64) - side // 2
    weights = pixels[0, 0].double() / pixels.sum()
    xx, yy = (weights * places**2).sum(), (weights * places[:, None] ** 2).sum()
    xy = (weights * places * places[:, None]).sum()
    values = torch.linalg.eigvalsh(torch.stack([xx, xy, xy, yy]).view(2, 2))
    return math.sqrt(values[1]), math.sqrt(max(values[0], 0))


@few_examples
@given(st.integers(5, 40), st.integers(5, 40), st.integers(1, 4), st.integers(0, 99))
def test_convolution_is_that_of_each_image_with_its_own_kernel(
    height: int, width: int, radius: int, seed: int
) -> None:
    pixels, kernels = (
        noise(2, 3, height, width),
        noise(2, 2 * radius + 1, 2 * radius + 1, seed=seed),
    )
    found = convolve(pixels, kernels)
    mode = "mirror" if radius < min(height, width) else "nearest"
    for image, kernel, result in zip(pixels, kernels, found, strict=True):
        for band, done in zip(image, result, strict=True):
            expected = direct(band.numpy(), kernel.numpy(), mode=mode)
            assert done.numpy() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_blur_is_a_gaussian(sigma: float) -> None:
    pixels, radius = noise(2, 2, 40, 40), math.ceil(3 * sigma)
    found = blur(pixels, Blur(kind="blur", sigma=(sigma, sigma)), make_draws(2), 1.0)
    size = (0, 0, radius, radius)
    expected = gaussian_filter(pixels.numpy(), (0, 0, sigma, sigma), mode="mirror", radius=size)
    assert found.numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", ["gaussian", "anisotropic", "generalised", "plateau"])
def test_every_shape_keeps_a_constant_and_is_as_wide_as_it_says(shape: str) -> None:
    step = Blur(kind="blur", sigma=(1.0, 3.0), shapes=(shape,))
    constant = torch.full((20, 2, 21, 23), 0.6)
    assert torch.allclose(blur(constant, step, make_draws(20), 1.0), constant, atol=1e-5)
    found = blur(dot(20), step, make_draws(20), 1.0)
    ratios = []
    for image in found:
        long, short = widths(image[None])
        # A plateau has tails without end: what is seen of them makes it much wider.
        assert 0.5 < short <= long < (10 if shape == "plateau" else 7)
        ratios.append(long / short)
    assert (max(ratios) < 1.01) == (shape == "gaussian")


@pytest.mark.parametrize(
    ("shape", "power", "sigmas"),
    [("gaussian", 1, 3), ("generalised", 0.5, 9), ("generalised", 4, 1.4), ("plateau", 1, 9.5)],
)
def test_a_kernel_ends_where_it_has_fallen_to_a_hundredth(
    shape: str, power: float, sigmas: float
) -> None:
    powers = {f"{shape}_power": (power, power)} if shape != "gaussian" else {}
    step = Blur(kind="blur", sigma=(4.0, 4.0), shapes=(shape,), **powers)
    assert reach(step, 1.0) == pytest.approx(4 * sigmas, abs=1)
    found = blur(dot(side=101), step, make_draws(1), 1.0)[0, 0]
    limit = SMALLEST_PART * found.max()
    assert found[50, 50 - reach(step, 1.0)] <= 1.01 * limit
    assert found[50, 50 - int(0.7 * reach(step, 1.0))] > limit


def test_motion_is_a_line_of_its_length() -> None:
    found = motion(dot(8), Motion(kind="motion", extent=(12, 12)), make_draws(8), 1.0)
    for image in found:
        long, short = widths(image[None])
        assert long == pytest.approx(12 / math.sqrt(12), rel=0.15)
        assert short < 0.6
    assert len(found.unique(dim=0)) == 8


def test_defocus_is_a_disc_of_its_radius() -> None:
    (image,) = defocus(dot(), Defocus(kind="defocus", radius=(6, 6)), make_draws(1), 1.0)
    assert widths(image[None]) == pytest.approx((3.0, 3.0), rel=0.05)
    inside = image[0, 31, 31 - 4 : 31 + 5]
    assert inside.max().item() == pytest.approx(inside.min().item(), abs=1e-6)


def test_sinc_rings_at_an_edge_and_keeps_a_constant() -> None:
    step = torch.zeros(1, 1, 40, 40)
    step[..., 20:] = 1
    scaled = 0.25 + step / 2
    found = sinc(scaled, Sinc(kind="sinc", cutoff=(0.4, 0.4)), make_draws(1))
    assert found.max() > 0.77 and found.min() < 0.23
    constant = torch.full((1, 1, 30, 30), 0.5)
    assert torch.allclose(sinc(constant, Sinc(kind="sinc"), make_draws(1)), constant, atol=1e-5)


def test_a_normalised_kernel_has_the_sum_one() -> None:
    assert normalised(noise(3, 5, 5)).sum((1, 2)) == pytest.approx(torch.ones(3))
