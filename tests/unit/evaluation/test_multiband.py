"""The spectral metrics against plain formulas."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganray.evaluation.metric import Sample
from ganray.evaluation.multiband import MULTIBAND

METRICS = {metric.name: metric for metric in MULTIBAND}
Pixels = npt.NDArray[np.float32]


def images(bands: int, seed: int = 0) -> tuple[Pixels, Pixels]:
    restored, reference = np.random.default_rng(seed).random((2, bands, 20, 24), np.float32)
    return restored, 0.1 + 0.9 * reference


def measure(name: str, restored: Pixels, reference: Pixels, crop: int = 0, scale: int = 1):
    return METRICS[name].measure(Sample(restored, reference, scale=scale), crop)


@pytest.mark.parametrize("bands", [2, 3, 4, 13])
def test_the_angle_and_the_error_are_those_of_the_formulas(bands: int) -> None:
    pair = images(bands)
    x, y = (pixels[:, 2:-2, 2:-2].astype(np.float64) for pixels in pair)
    # Kahan 2006, "How futile are mindless assessments of roundoff", section 12.
    a, b = x * np.linalg.norm(y, axis=0), y * np.linalg.norm(x, axis=0)
    halves = np.arctan2(np.linalg.norm(a - b, axis=0), np.linalg.norm(a + b, axis=0))
    angle = np.degrees(2 * halves).mean()
    assert measure("sam", *pair, crop=2) == pytest.approx(angle, rel=1e-6)
    relative = ((x - y) ** 2).mean((1, 2)) / y.mean((1, 2)) ** 2
    expected = 100 / 4 * np.sqrt(relative.mean())
    assert measure("ergas", *pair, crop=2, scale=4) == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0.1, 1))
def test_the_angle_does_not_see_brightness_and_the_error_does(seed: int, factor: float) -> None:
    _, reference = images(4, seed)
    dimmed = reference * np.float32(factor)
    assert measure("sam", dimmed, reference) == pytest.approx(0, abs=1e-4)
    # RMSE is not the mean's: 100 (1 - f) of a constant band only.
    constant = np.broadcast_to(reference.mean((1, 2), keepdims=True), reference.shape).copy()
    expected = 100 * (1 - np.float32(factor))
    found = measure("ergas", constant * np.float32(factor), constant)
    assert found == pytest.approx(expected, abs=1e-3)


def test_identical_images_have_neither_angle_nor_error() -> None:
    _, image = images(5)
    assert measure("sam", image, image) == pytest.approx(0, abs=1e-5)
    assert measure("ergas", image, image) == 0


def test_orthogonal_spectra_are_at_90_degrees_and_black_pixels_are_left_out() -> None:
    restored, reference = np.zeros((2, 2, 4, 4), np.float32)
    restored[0, 0], reference[1, 0] = 0.7, 0.2
    restored[0, 1], reference[0, 2] = 1, 1
    assert measure("sam", restored, reference) == pytest.approx(90)


def test_what_is_undefined_is_none() -> None:
    restored, reference = images(3)
    assert measure("sam", restored[:1], reference[:1]) is None
    assert measure("sam", restored, np.zeros_like(reference)) is None
    reference[1] = 0
    assert measure("ergas", restored, reference) is None
    assert measure("ergas", *images(3), crop=10) is None
    assert measure("sam", *images(3), crop=10) is None
