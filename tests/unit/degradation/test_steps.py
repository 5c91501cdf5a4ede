import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.ndimage import gaussian_filter

from ganray.degradation.steps import (
    Jpeg,
    Noise,
    Step,
    add_noise,
    apply_step,
    blur,
    compress_jpeg,
    reduce,
)
from ganray.raster.image import FloatPixels, from_float, to_float
from ganray.raster.resample import resize

few_examples = settings(max_examples=25, deadline=None)
EVERY_STEP = {
    "blur": {"kind": "blur", "sigma": [0.5, 2.0]},
    "resample": {"kind": "resample", "kernels": ["bicubic", "area", "bilinear", "lanczos"]},
    "noise": {"kind": "noise", "sigma": [0.01, 0.1], "gray_probability": 0.5},
    "jpeg": {"kind": "jpeg", "quality": [20, 90]},
    "quantise": {"kind": "quantise"},
}


def make_step(values: dict) -> Step:
    return TypeAdapter(Step).validate_python(values)


def noise(bands: int = 3, height: int = 24, width: int = 32, seed: int = 0) -> FloatPixels:
    return np.random.default_rng(seed).random((bands, height, width), np.float32)


def smooth(bands: int = 3, side: int = 32) -> FloatPixels:
    return gaussian_filter(noise(bands, side, side), (0, 3, 3)).astype(np.float32)


@pytest.mark.parametrize("kind", EVERY_STEP)
@few_examples
@given(seed=st.integers(0, 2**32), bands=st.sampled_from([1, 3]))
def test_a_step_is_pure_in_its_seed_and_stays_within_0_to_1(
    kind: str, seed: int, bands: int
) -> None:
    step, pixels = make_step(EVERY_STEP[kind]), noise(bands)
    pixels.setflags(write=False)
    once, again = (apply_step(pixels, step, 2, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(once, again)
    assert once.dtype == np.float32 and once.min() >= 0 and once.max() <= 1 + 1e-6
    assert once.shape == ((bands, 12, 16) if kind == "resample" else pixels.shape)


@pytest.mark.parametrize("kind", ["blur", "noise", "jpeg"])
def test_a_step_of_probability_zero_changes_nothing_and_of_one_always(kind: str) -> None:
    pixels = noise()
    for probability, changes in ((0.0, False), (1.0, True)):
        step = make_step(EVERY_STEP[kind] | {"probability": probability})
        for seed in range(5):
            result = apply_step(pixels, step, 2, np.random.default_rng(seed))
            assert np.array_equal(result, pixels) != changes


@pytest.mark.parametrize("kind", ["resample", "quantise"])
def test_a_step_that_a_recipe_relies_on_cannot_be_left_to_chance(kind: str) -> None:
    with pytest.raises(ValidationError, match="probability"):
        make_step(EVERY_STEP[kind] | {"probability": 0.5})


@few_examples
@given(st.floats(0.1, 4), st.integers(3, 40), st.integers(3, 40))
def test_blur_keeps_a_constant_and_the_mean_far_from_the_border(
    sigma: float, height: int, width: int
) -> None:
    constant = np.full((2, height, width), 0.6, np.float32)
    assert blur(constant, sigma) == pytest.approx(0.6, abs=1e-5)
    radius = int(np.ceil(3 * sigma)) + 1
    dot = np.zeros((1, 2 * radius + 3, 2 * radius + 5), np.float32)
    dot[0, radius + 1, radius + 1] = 1
    assert blur(dot, sigma).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_blur_is_a_gaussian(sigma: float) -> None:
    pixels = noise(2, 40, 40)
    radius = int(np.ceil(3 * sigma))
    # scipy's "mirror" is NumPy's "reflect": the border pixel is not repeated.
    expected = gaussian_filter(pixels, (0, sigma, sigma), mode="mirror", radius=(0, radius, radius))
    assert blur(pixels, sigma) == pytest.approx(expected, abs=1e-5)


def test_blur_takes_away_contrast() -> None:
    pixels = noise()
    assert blur(pixels, 2.0).std() < 0.5 * blur(pixels, 0.5).std() < pixels.std()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reduction_is_the_resampling_cut_to_0_to_1(scale: int) -> None:
    # A chequered edge, at which bicubic overshoots.
    pixels = np.zeros((1, 12 * scale, 12 * scale), np.float32)
    pixels[:, :, 6 * scale :] = 1
    uncut = resize(pixels, 12, 12, kernel="bicubic")
    assert uncut.min() < 0 and uncut.max() > 1
    assert np.array_equal(reduce(pixels, scale, "bicubic"), np.clip(uncut, 0, 1))


def test_reduction_by_one_changes_nothing() -> None:
    pixels = noise()
    assert np.array_equal(reduce(pixels, 1, "bicubic"), pixels)


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_noise_has_the_standard_deviation_asked_for_and_no_mean(sigma: float) -> None:
    gray = np.full((3, 128, 128), 0.5, np.float32)
    options = Noise(kind="noise", sigma=(sigma, sigma))
    difference = add_noise(gray, options, np.random.default_rng(0)) - gray
    assert difference.std() == pytest.approx(sigma, rel=0.03)
    assert difference.mean() == pytest.approx(0, abs=sigma / 20)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_gray_noise_is_the_same_in_all_bands(probability: float) -> None:
    gray = np.full((3, 16, 16), 0.5, np.float32)
    options = Noise(kind="noise", sigma=(0.05, 0.05), gray_probability=probability)
    noisy = add_noise(gray, options, np.random.default_rng(0))
    assert np.array_equal(noisy[0], noisy[1]) == bool(probability)


@pytest.mark.parametrize("bands", [1, 3])
def test_jpeg_changes_pixels_less_the_higher_its_quality(bands: int) -> None:
    pixels = smooth(bands)
    errors = [np.abs(compress_jpeg(pixels, quality) - pixels).mean() for quality in (10, 50, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] < 0.02


def test_the_quality_of_jpeg_is_drawn_from_the_whole_range() -> None:
    pixels, step = smooth(1), Jpeg(kind="jpeg", quality=(10, 12))
    drawn = {
        apply_step(pixels, step, 1, np.random.default_rng(seed)).tobytes() for seed in range(40)
    }
    assert drawn == {compress_jpeg(pixels, quality).tobytes() for quality in (10, 11, 12)}


@few_examples
@given(st.integers(0, 2**32))
def test_quantised_pixels_are_those_of_a_stored_file(seed: int) -> None:
    pixels = noise(seed=seed)
    stored = apply_step(pixels, make_step(EVERY_STEP["quantise"]), 1, np.random.default_rng(0))
    assert np.array_equal(to_float(from_float(stored, "uint8")), stored)
    assert np.abs(stored - pixels).max() <= 0.5 / 255 + 1e-6
