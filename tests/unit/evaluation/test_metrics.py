"""Each metric against a second library, at its limits and on inputs that it must refuse."""

import json
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_msssim import ms_ssim
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ganray.errors import ConfigError, RestorationError, UnsupportedImageError
from ganray.evaluation.metrics import METRICS, measure_all

Pixels = npt.NDArray[np.float32]
NAMES = sorted(METRICS)
PHOTOGRAPHS = ("astronaut", "chelsea", "rocket")


def quantise(pixels: npt.NDArray[np.floating]) -> Pixels:
    return (np.round(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


def photograph(name: str) -> Pixels:
    """The middle of a bundled photograph; 272 and 288 can be halved evenly four times."""
    pixels = getattr(data, name)().transpose(2, 0, 1)
    top, left = (
        (side - kept) // 2 for side, kept in zip(pixels.shape[1:], (272, 288), strict=True)
    )
    return quantise(pixels[:, top : top + 272, left : left + 288] / 255)


def noisy(pixels: Pixels, sigma: float, seed: int = 0) -> Pixels:
    return quantise(pixels + np.random.default_rng(seed).normal(0, sigma, pixels.shape))


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    return quantise(gaussian_filter(pixels, (0, sigma, sigma)))


def inner(pixels: Pixels, crop: int) -> Pixels:
    return pixels[:, crop : pixels.shape[1] - crop, crop : pixels.shape[2] - crop]


def luma(pixels: Pixels) -> npt.NDArray[np.float64]:
    if len(pixels) == 1:
        return pixels[0].astype(np.float64) * 255
    return rgb2ycbcr(pixels.astype(np.float64), channel_axis=0)[0]


def skimage_psnr_y(restored: Pixels, reference: Pixels) -> float:
    return float(peak_signal_noise_ratio(luma(reference), luma(restored), data_range=255))


def skimage_psnr_rgb(restored: Pixels, reference: Pixels) -> float:
    return float(peak_signal_noise_ratio(reference, restored, data_range=1))


def skimage_ssim_y(restored: Pixels, reference: Pixels) -> float:
    return float(
        structural_similarity(
            luma(reference),
            luma(restored),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )
    )


def second_ms_ssim(restored: Pixels, reference: Pixels) -> float:
    planes = (
        torch.from_numpy(luma(p).astype(np.float32))[None, None] for p in (restored, reference)
    )
    return float(ms_ssim(*planes, data_range=255))


DAMAGES = {
    "noise": lambda p: noisy(p, 0.05),
    "heavy noise": lambda p: noisy(p, 0.2),
    "blur": lambda p: blurred(p, 3),
    "dimmed": lambda p: quantise(p * 0.6),
}
SECOND_LIBRARY = {
    "psnr_y": skimage_psnr_y,
    "psnr_rgb": skimage_psnr_rgb,
    "ssim_y": skimage_ssim_y,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("metric", SECOND_LIBRARY)
def test_a_metric_agrees_with_scikit_image(metric: str, name: str, damage: str) -> None:
    reference = photograph(name)
    restored = DAMAGES[damage](reference)
    expected = SECOND_LIBRARY[metric](inner(restored, 4), inner(reference, 4))
    assert METRICS[metric].measure(restored, reference, 4) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_ms_ssim_agrees_with_pytorch_msssim_where_every_scale_halves_evenly(
    name: str, damage: str
) -> None:
    reference = photograph(name)
    restored = DAMAGES[damage](reference)
    expected = second_ms_ssim(restored, reference)
    assert METRICS["ms_ssim"].measure(restored, reference, 0) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_ms_ssim_stays_close_where_the_libraries_halve_odd_sides_differently(
    name: str, damage: str
) -> None:
    # At an odd side torchmetrics drops the last line, pytorch_msssim averages in a line of zeros.
    reference = photograph(name)
    restored = DAMAGES[damage](reference)
    expected = second_ms_ssim(inner(restored, 3), inner(reference, 3))
    assert METRICS["ms_ssim"].measure(restored, reference, 3) == pytest.approx(expected, abs=4e-3)


@pytest.mark.parametrize("metric", [*SECOND_LIBRARY, "ms_ssim"])
def test_a_gray_image_is_its_own_luma(metric: str) -> None:
    reference = quantise(data.camera()[None] / 255)
    restored = noisy(reference, 0.1)
    second = {**SECOND_LIBRARY, "ms_ssim": second_ms_ssim}[metric]
    expected = second(restored, reference)
    assert METRICS[metric].measure(restored, reference, 0) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("bands", [1, 3])
def test_identical_images_read_100_db_and_similarity_one_and_fit_into_json(bands: int) -> None:
    image = photograph("astronaut")[:bands]
    values = measure_all(NAMES, image, image.copy(), crop=4)
    assert values == pytest.approx({"ms_ssim": 1, "psnr_rgb": 100, "psnr_y": 100, "ssim_y": 1})
    json.dumps(values, allow_nan=False)


def test_psnr_is_capped_where_it_would_exceed_100_db() -> None:
    reference = np.full((1, 64, 64), 0.5, np.float32)
    restored = reference.copy()
    restored[0, 0, 0] += 1e-5
    assert measure_all(["psnr_rgb"], restored, reference, crop=0) == {"psnr_rgb": 100.0}


@pytest.mark.parametrize("metric", NAMES)
def test_the_crop_hides_the_border_and_nothing_else(metric: str) -> None:
    reference = photograph("astronaut")[:, :200, :220]
    measure = METRICS[metric].measure
    damaged_border = 1 - reference
    damaged_border[:, 4:-4, 4:-4] = reference[:, 4:-4, 4:-4]
    assert measure(damaged_border, reference, 4) == measure(reference, reference, 4)
    assert measure(damaged_border, reference, 3) < measure(reference, reference, 3)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("crop", [0, 2, 4])
def test_a_crop_equals_measuring_images_cropped_before(metric: str, crop: int) -> None:
    reference = photograph("chelsea")
    restored = noisy(reference, 0.05)
    before = METRICS[metric].measure(inner(restored, crop), inner(reference, crop), 0)
    assert METRICS[metric].measure(restored, reference, crop) == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "crop", "defined"),
    [
        ((3, 8, 300), 4, set()),
        ((3, 8, 300), 5, set()),
        ((3, 10, 10), 0, {"psnr_y", "psnr_rgb"}),
        ((3, 18, 300), 4, {"psnr_y", "psnr_rgb"}),
        ((3, 19, 300), 4, {"psnr_y", "psnr_rgb", "ssim_y"}),
        ((1, 183, 300), 4, {"psnr_y", "psnr_rgb", "ssim_y"}),
        ((1, 184, 184), 4, set(NAMES)),
    ],
)
def test_a_metric_is_none_exactly_where_too_little_is_left_after_the_crop(
    shape: tuple[int, int, int], crop: int, defined: set[str]
) -> None:
    image = quantise(np.random.default_rng(0).random(shape))
    values = measure_all(NAMES, image, image, crop=crop)
    assert {name for name, value in values.items() if value is not None} == defined


@settings(deadline=None, max_examples=10)
@given(
    seed=st.integers(0, 2**32 - 1),
    less=st.floats(0.02, 0.15),
    ratio=st.floats(1.2, 1.6),
    bands=st.sampled_from([1, 3]),
)
def test_more_noise_never_scores_better(seed: int, less: float, ratio: float, bands: int) -> None:
    reference = 0.25 + 0.5 * photograph("astronaut")[:bands, :192, :192]
    noise = np.random.default_rng(seed).uniform(-1, 1, reference.shape).astype(np.float32)
    better = measure_all(NAMES, reference + less * noise, reference, crop=2)
    worse = measure_all(NAMES, reference + less * ratio * noise, reference, crop=2)
    assert all(worse[name] < better[name] for name in NAMES)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), side=st.integers(11, 40), bands=st.sampled_from([1, 3]))
def test_values_of_unrelated_images_are_finite_and_the_same_both_ways(
    seed: int, side: int, bands: int
) -> None:
    one, other = np.random.default_rng(seed).random((2, bands, side, side + 3), np.float32)
    forth = measure_all(["psnr_y", "psnr_rgb", "ssim_y"], one, other, crop=0)
    back = measure_all(["psnr_y", "psnr_rgb", "ssim_y"], other, one, crop=0)
    assert forth == pytest.approx(back, abs=1e-5)
    assert all(value is not None and math.isfinite(value) for value in forth.values())
    assert -1 <= forth["ssim_y"] <= 1


@pytest.mark.parametrize("metric", NAMES)
def test_shapes_that_differ_are_both_named(metric: str) -> None:
    restored, reference = np.zeros((3, 200, 200), np.float32), np.zeros((3, 200, 201), np.float32)
    with pytest.raises(ConfigError, match=r"\(3, 200, 200\).*\(3, 200, 201\)"):
        METRICS[metric].measure(restored, reference, 0)


@pytest.mark.parametrize("shape", [(200, 200), (2, 200, 200), (4, 200, 200), (3, 0, 200)])
def test_images_that_are_neither_gray_nor_rgb_are_refused(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.float32)
    with pytest.raises(ConfigError, match="1 band"):
        measure_all(["psnr_rgb"], image, image, crop=0)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.01, -0.01, 255])
def test_values_that_are_not_finite_within_0_to_1_are_refused(metric: str, value: float) -> None:
    good = np.full((3, 200, 200), 0.5, np.float32)
    bad = good.copy()
    # In a corner, where the crop would hide it.
    bad[1, 0, 0] = value
    with pytest.raises(RestorationError, match="the restored image holds values from"):
        METRICS[metric].measure(bad, good, 4)
    with pytest.raises(UnsupportedImageError, match="the reference image holds values from"):
        METRICS[metric].measure(good, bad, 4)


def test_an_unknown_name_lists_the_known_ones() -> None:
    image = np.zeros((3, 20, 20), np.float32)
    with pytest.raises(ConfigError, match=r"lpips.*ms_ssim, psnr_rgb, psnr_y, ssim_y"):
        measure_all(["psnr_y", "lpips"], image, image, crop=0)


def test_values_come_in_the_order_of_the_names() -> None:
    image = np.zeros((3, 20, 20), np.float32)
    assert list(measure_all(["ssim_y", "psnr_y"], image, image, crop=0)) == ["ssim_y", "psnr_y"]


@pytest.mark.parametrize("metric", NAMES)
def test_a_definition_is_one_sentence_naming_channel_range_and_crop(metric: str) -> None:
    definition = METRICS[metric].definition
    assert METRICS[metric].name == metric
    assert "crop of `crop` pixels" in definition and "data range" in definition
    assert ("RGB" if metric == "psnr_rgb" else "on Y") in definition
    assert "dB" in definition if "psnr" in metric else "window 11x11" in definition
    assert definition.endswith(".") and definition[0].isupper()


def test_measuring_leaves_the_images_untouched() -> None:
    reference = photograph("astronaut")
    restored = noisy(reference, 0.05)
    reference.setflags(write=False)
    restored.setflags(write=False)
    assert None not in measure_all(NAMES, restored, reference, crop=4).values()
