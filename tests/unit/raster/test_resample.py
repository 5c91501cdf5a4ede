import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ganray.raster.resample import KERNELS, magnify, repeat, resize

few_examples = settings(max_examples=25, deadline=None)
sides = st.integers(1, 40)


def noise(bands: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((bands, height, width), np.float32)


def catmull_rom(distance: np.ndarray) -> np.ndarray:
    """Keys 1981, a = -0.5."""
    x = np.abs(distance)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def bicubic_weights(source: int, target: int) -> np.ndarray:
    """One row of weights per output pixel; the kernel widens when it shrinks."""
    step = source / target
    widening = max(1.0, step)
    centres = (np.arange(target)[:, None] + 0.5) * step - 0.5
    weights = catmull_rom((np.arange(source)[None] - centres) / widening)
    return weights / weights.sum(axis=1, keepdims=True)


@few_examples
@given(sides, sides, sides, sides, st.sampled_from(sorted(KERNELS)))
def test_a_constant_stays_constant_and_shapes_are_as_asked(
    height: int, width: int, new_height: int, new_width: int, kernel: str
) -> None:
    pixels = np.full((2, height, width), 0.3, np.float32)
    resized = resize(pixels, new_height, new_width, kernel=kernel)
    assert resized.shape == (2, new_height, new_width) and resized.dtype == np.float32
    assert resized == pytest.approx(0.3, abs=1e-5)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_the_same_size_gives_the_same_pixels(kernel: str) -> None:
    pixels = noise(3, 9, 12)
    np.testing.assert_allclose(resize(pixels, 9, 12, kernel=kernel), pixels, rtol=0, atol=1e-6)


@few_examples
@given(
    st.integers(4, 40), st.integers(4, 40), st.integers(2, 60), st.integers(2, 60), st.integers(0)
)
def test_bicubic_is_keys_kernel_widened_by_the_reduction(
    height: int, width: int, new_height: int, new_width: int, seed: int
) -> None:
    pixels = noise(1, height, width, seed)
    rows, columns = bicubic_weights(height, new_height), bicubic_weights(width, new_width)
    expected = rows @ pixels[0].astype(np.float64) @ columns.T
    np.testing.assert_allclose(
        resize(pixels, new_height, new_width)[0], expected, rtol=0, atol=2e-5
    )


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reduction_agrees_with_torch(kernel: str, scale: int) -> None:
    pixels = noise(3, 12 * scale, 10 * scale)
    tensor = torch.from_numpy(pixels)[None]
    expected = F.interpolate(tensor, size=(12, 10), mode=kernel, antialias=True)[0].numpy()
    np.testing.assert_allclose(resize(pixels, 12, 10, kernel=kernel), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_area_is_the_mean_of_each_block(scale: int) -> None:
    pixels = noise(2, 5 * scale, 7 * scale)
    expected = pixels.reshape(2, 5, scale, 7, scale).mean(axis=(2, 4))
    np.testing.assert_allclose(resize(pixels, 5, 7, kernel="area"), expected, rtol=0, atol=1e-6)


def test_bands_do_not_mix() -> None:
    pixels = noise(3, 8, 8)
    alone = np.concatenate([resize(pixels[[band]], 4, 4) for band in range(3)])
    assert np.array_equal(resize(pixels, 4, 4), alone)


def test_a_view_with_strides_is_resampled_like_its_copy() -> None:
    pixels = noise(2, 8, 16)[:, ::-1, ::2]
    assert np.array_equal(resize(pixels, 3, 5), resize(pixels.copy(), 3, 5))


def test_what_is_magnified_stays_in_its_range() -> None:
    edge = np.zeros((1, 4, 8), np.float32)
    edge[:, :, 4:] = 1
    assert resize(edge, 8, 16).max() > 1
    assert (magnify(edge, 8, 16).min(), magnify(edge, 8, 16).max()) == (0, 1)


def test_what_is_repeated_is_its_own_mean() -> None:
    pixels = noise(2, 3, 5)
    assert repeat(pixels, 3).shape == (2, 9, 15)
    np.testing.assert_allclose(resize(repeat(pixels, 3), 3, 5, kernel="area"), pixels, atol=1e-6)
    assert np.array_equal(repeat(pixels[0] > 0.5, 3), repeat(pixels, 3)[0] > 0.5)
