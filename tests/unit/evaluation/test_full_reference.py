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
from ganray.evaluation.full_reference import FULL_REFERENCE
from ganray.evaluation.metric import Sample

Pixels = npt.NDArray[np.float32]
METRICS = {metric.name: metric for metric in FULL_REFERENCE if metric.name != "masked_psnr"}
NAMES = sorted(METRICS)
PSNRS = {"psnr_y", "psnr_rgb", "psnr_all"}
SSIMS = {"ssim_y", "ssim_rgb"}
PHOTOGRAPHS = ("astronaut", "chelsea", "rocket")


def measure(name: str, restored: Pixels, reference: Pixels, crop: int = 0) -> float | None:
    return METRICS[name].measure(Sample(restored, reference), crop)


def measure_all(restored: Pixels, reference: Pixels, crop: int) -> dict[str, float | None]:
    return {name: measure(name, restored, reference, crop) for name in NAMES}


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


SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def skimage_ssim_y(restored: Pixels, reference: Pixels) -> float:
    return float(structural_similarity(luma(reference), luma(restored), data_range=255, **SSIM))


def skimage_ssim_rgb(restored: Pixels, reference: Pixels) -> float:
    pair = (pixels.astype(np.float64) for pixels in (reference, restored))
    return float(structural_similarity(*pair, data_range=1, channel_axis=0, **SSIM))


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
    "psnr_all": skimage_psnr_rgb,
    "ssim_y": skimage_ssim_y,
    "ssim_rgb": skimage_ssim_rgb,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("metric", SECOND_LIBRARY)
def test_a_metric_agrees_with_scikit_image(metric: str, name: str, damage: str) -> None:
    reference = photograph(name)
    restored = DAMAGES[damage](reference)
    expected = SECOND_LIBRARY[metric](inner(restored, 4), inner(reference, 4))
    assert measure(metric, restored, reference, 4) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_ms_ssim_agrees_with_pytorch_msssim_where_every_scale_halves_evenly(
    name: str, damage: str
) -> None:
    reference = photograph(name)
    restored = DAMAGES[damage](reference)
    expected = second_ms_ssim(restored, reference)
    assert measure("ms_ssim", restored, reference, 0) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_ms_ssim_stays_close_where_the_libraries_halve_odd_sides_differently(
    name: str, damage: str
) -> None:
    # At an odd side torchmetrics drops the last line, pytorch_msssim averages in a line of zeros.
    reference = photograph(name)
    restored = DAMAGES[damage](reference)
    expected = second_ms_ssim(inner(restored, 3), inner(reference, 3))
    assert measure("ms_ssim", restored, reference, 3) == pytest.approx(expected, abs=4e-3)


@pytest.mark.parametrize("metric", [*SECOND_LIBRARY, "ms_ssim"])
def test_a_gray_image_is_its_own_luma(metric: str) -> None:
    reference = quantise(data.camera()[None] / 255)
    restored = noisy(reference, 0.1)
    second = {**SECOND_LIBRARY, "ms_ssim": second_ms_ssim}[metric]
    expected = second(restored, reference)
    assert measure(metric, restored, reference, 0) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("bands", [1, 3])
def test_identical_images_read_100_db_and_similarity_one_and_fit_into_json(bands: int) -> None:
    image = photograph("astronaut")[:bands]
    values = measure_all(image, image.copy(), 4)
    assert values == pytest.approx({name: 100 if name in PSNRS else 1 for name in NAMES})
    json.dumps(values, allow_nan=False)


def test_psnr_is_capped_where_it_would_exceed_100_db() -> None:
    reference = np.full((1, 64, 64), 0.5, np.float32)
    restored = reference.copy()
    restored[0, 0, 0] += 1e-5
    assert measure("psnr_rgb", restored, reference) == 100.0


@pytest.mark.parametrize("metric", NAMES)
def test_the_crop_hides_the_border_and_nothing_else(metric: str) -> None:
    reference = photograph("astronaut")[:, :200, :220]
    damaged_border = 1 - reference
    damaged_border[:, 4:-4, 4:-4] = reference[:, 4:-4, 4:-4]
    perfect = [measure(metric, reference, reference, crop) for crop in (4, 3)]
    assert measure(metric, damaged_border, reference, 4) == perfect[0]
    assert measure(metric, damaged_border, reference, 3) < perfect[1]


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("crop", [0, 2, 4])
def test_a_crop_equals_measuring_images_cropped_before(metric: str, crop: int) -> None:
    reference = photograph("chelsea")
    restored = noisy(reference, 0.05)
    before = measure(metric, inner(restored, crop), inner(reference, crop), 0)
    assert measure(metric, restored, reference, crop) == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "crop", "defined"),
    [
        ((3, 8, 300), 4, set()),
        ((3, 8, 300), 5, set()),
        ((3, 10, 10), 0, PSNRS),
        ((3, 18, 300), 4, PSNRS),
        ((3, 19, 300), 4, PSNRS | SSIMS),
        ((1, 183, 300), 4, PSNRS | SSIMS),
        ((1, 184, 184), 4, set(NAMES)),
    ],
)
def test_a_metric_is_none_exactly_where_too_little_is_left_after_the_crop(
    shape: tuple[int, int, int], crop: int, defined: set[str]
) -> None:
    image = quantise(np.random.default_rng(0).random(shape))
    values = measure_all(image, image, crop)
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
    better = measure_all(reference + less * noise, reference, 2)
    worse = measure_all(reference + less * ratio * noise, reference, 2)
    assert all(worse[name] < better[name] for name in NAMES)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), side=st.integers(11, 40), bands=st.sampled_from([1, 3]))
def test_values_of_unrelated_images_are_finite_and_the_same_both_ways(
    seed: int, side: int, bands: int
) -> None:
    one, other = np.random.default_rng(seed).random((2, bands, side, side + 3), np.float32)
    forth, back = ({n: measure(n, *p) for n in PSNRS | SSIMS} for p in ((one, other), (other, one)))
    assert forth == pytest.approx(back, abs=1e-5)
    assert all(value is not None and math.isfinite(value) for value in forth.values())
    assert all(-1 <= forth[name] <= 1 for name in SSIMS)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_ssim_of_constant_images_is_its_luminance_term(level: float) -> None:
    reference = np.full((3, 32, 32), level, np.float32)
    restored = np.full((3, 32, 32), 0.25, np.float32)
    c1 = 0.01**2
    expected = (2 * level * 0.25 + c1) / (level**2 + 0.25**2 + c1)
    assert measure("ssim_rgb", restored, reference) == pytest.approx(expected, abs=1e-4)


def test_metrics_of_colour_are_undefined_for_other_bands_and_psnr_all_is_not() -> None:
    reference = np.random.default_rng(0).random((4, 200, 200), np.float32)
    restored = np.clip(reference + np.float32(0.1), 0, 1)
    values = measure_all(restored, reference, 0)
    error = (restored.astype(np.float64) - reference) ** 2
    assert values.pop("psnr_all") == pytest.approx(-10 * math.log10(error.mean()), abs=1e-4)
    assert set(values.values()) == {None}


def masked(lost: npt.NDArray[np.bool_], restored: Pixels, reference: Pixels, crop: int = 0):
    scale = restored.shape[1] // lost.shape[0]
    metric = next(metric for metric in FULL_REFERENCE if metric.name == "masked_psnr")
    return metric.measure(Sample(restored, reference, lost=lost, scale=scale), crop)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_masked_psnr_sees_lost_pixels_alone(scale: int) -> None:
    lost = np.zeros((10, 12), bool)
    lost[2:5, 3:9] = True
    reference = np.random.default_rng(0).random((5, 10 * scale, 12 * scale), np.float32)
    restored = reference.copy()
    restored[:, ~np.kron(lost, np.ones((scale, scale), bool))] = 0
    assert masked(lost, restored, reference) == 100
    restored[:, 2 * scale : 5 * scale, 3 * scale : 9 * scale] = 0.5
    expected = np.mean((reference[:, 2 * scale : 5 * scale, 3 * scale : 9 * scale] - 0.5) ** 2)
    assert masked(lost, restored, reference) == pytest.approx(-10 * math.log10(expected), abs=1e-3)


def test_masked_psnr_is_none_where_nothing_was_lost_or_the_crop_hides_it() -> None:
    image, lost = np.zeros((3, 20, 20), np.float32), np.zeros((10, 10), bool)
    assert masked(lost, image, image) is None
    lost[0] = True
    assert masked(lost, image, image) == 100
    assert masked(lost, image, image, crop=2) is None


@pytest.mark.parametrize("metric", NAMES)
def test_shapes_that_differ_are_both_named(metric: str) -> None:
    restored, reference = np.zeros((3, 200, 200), np.float32), np.zeros((3, 200, 201), np.float32)
    with pytest.raises(ConfigError, match=r"\(3, 200, 200\).*\(3, 200, 201\)"):
        measure(metric, restored, reference, 0)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.01, -0.01, 255])
def test_values_that_are_not_finite_within_0_to_1_are_refused(metric: str, value: float) -> None:
    good = np.full((3, 200, 200), 0.5, np.float32)
    bad = good.copy()
    # In a corner, where the crop would hide it.
    bad[1, 0, 0] = value
    with pytest.raises(RestorationError, match="the restored image holds values from"):
        measure(metric, bad, good, 4)
    with pytest.raises(UnsupportedImageError, match="the reference image holds values from"):
        measure(metric, good, bad, 4)


@pytest.mark.parametrize("metric", NAMES)
def test_a_definition_is_one_sentence_naming_channel_range_and_crop(metric: str) -> None:
    definition = METRICS[metric].definition
    assert METRICS[metric].name == metric
    assert "crop of `crop` pixels" in definition and "data range" in definition
    channels = {"rgb": "RGB", "all": "all bands"}
    assert channels.get(metric.rpartition("_")[2], "on Y") in definition
    assert "dB" in definition if "psnr" in metric else "window 11x11" in definition
    assert definition.endswith(".") and definition[0].isupper()


def test_measuring_leaves_the_images_untouched() -> None:
    reference = photograph("astronaut")
    restored = noisy(reference, 0.05)
    reference.setflags(write=False)
    restored.setflags(write=False)
    assert None not in measure_all(restored, reference, 4).values()
