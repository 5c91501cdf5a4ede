"""How close restored pixels are to the reference's: PSNR, SSIM, MS-SSIM, on Y and on RGB."""

import math
from statistics import fmean
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ganray.evaluation.metric import CROPPED, Metric, Sample, cut, cut_pair
from ganray.raster.image import FloatPixels
from ganray.raster.resample import repeat

GRAY_OR_RGB: Final = (1, 3)
PSNR_CAP_DB: Final = 100.0
SSIM_WINDOW_PIXELS: Final = 11
SSIM_SIGMA: Final = 1.5
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
# Variances lose fewer digits in float32 where values lie around 0.
MID_GRAY: Final = 127.5
# Four halvings must leave a window's width: 11 * 2**4.
MS_SSIM_MIN_SIDE_PIXELS: Final = 176
MS_SSIM_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

Plane: TypeAlias = FloatPixels


def psnr(restored: FloatPixels, reference: FloatPixels, *, data_range: float) -> float | None:
    """PSNR = 10 log10(range^2 / MSE) in dB, at most PSNR_CAP_DB because JSON has no infinity."""
    if restored.size == 0:
        return None
    mean_squared_error = float(np.mean(np.square(restored - reference), dtype=np.float64))
    if mean_squared_error == 0.0:
        return PSNR_CAP_DB
    return min(PSNR_CAP_DB, 10.0 * math.log10(data_range**2 / mean_squared_error))


def luma(pixels_CHW: FloatPixels) -> Plane:
    """Y (H, W) of ITU-R BT.601 in studio range, 16 to 235; one band is its own Y, 0 to 255."""
    if len(pixels_CHW) == 1:
        gray: Plane = pixels_CHW[0] * np.float32(255.0)
        return gray
    red, green, blue = pixels_CHW
    # The factors are Python's floats, so that float32 stays float32.
    colour: Plane = 16.0 + 65.481 * red + 128.553 * green + 24.966 * blue
    return colour


def _psnr_y(sample: Sample, crop: int) -> float | None:
    restored, reference = cut_pair(sample, crop)
    return psnr(luma(restored), luma(reference), data_range=255.0)


def _psnr_bands(sample: Sample, crop: int) -> float | None:
    restored, reference = cut_pair(sample, crop)
    return psnr(restored, reference, data_range=1.0)


def _masked_psnr(sample: Sample, crop: int) -> float | None:
    """Of the pixels that were lost; None where none was."""
    restored, reference = cut_pair(sample, crop)
    assert sample.lost is not None
    lost = cut(repeat(sample.lost, sample.scale), crop)
    return psnr(restored[:, lost], reference[:, lost], data_range=1.0)


def _ssim_y(sample: Sample, crop: int) -> float | None:
    return _ssim(*(luma(pixels)[None] for pixels in cut_pair(sample, crop)))


def _ssim_rgb(sample: Sample, crop: int) -> float | None:
    return _ssim(*(pixels * np.float32(255.0) for pixels in cut_pair(sample, crop)))


def _ssim(restored_CHW: FloatPixels, reference_CHW: FloatPixels) -> float | None:
    """SSIM (Wang et al. 2004, "Image quality assessment", eq. 13), averaged over whole windows."""
    if min(restored_CHW.shape[1:]) < SSIM_WINDOW_PIXELS:
        return None
    # Band by band: three at once leave the cache, and take three times as long each.
    pairs = zip(_centred(restored_CHW), _centred(reference_CHW), strict=True)
    return fmean(_mean_similarity(*_terms(*pair)) for pair in pairs)


def _ms_ssim_y(sample: Sample, crop: int) -> float | None:
    """MS-SSIM (Wang et al. 2003, "Multi-scale structural similarity", eq. 7)."""
    planes = [luma(pixels) for pixels in cut_pair(sample, crop)]
    if min(planes[0].shape) < MS_SSIM_MIN_SIDE_PIXELS:
        return None
    restored, reference = (_centred(plane) for plane in planes)
    means = []
    for _ in MS_SSIM_WEIGHTS[:-1]:
        means.append(float(_terms(restored, reference)[1].mean()))
        restored, reference = (avg_pool2d(plane[None], 2)[0] for plane in (restored, reference))
    means.append(_mean_similarity(*_terms(restored, reference)))
    # A negative mean has no real power.
    powers = (max(mean, 0.0) ** w for mean, w in zip(means, MS_SSIM_WEIGHTS, strict=True))
    return float(math.prod(powers))


def _mean_similarity(luminance: Tensor, contrast: Tensor) -> float:
    return float((luminance * contrast).mean())


def _terms(x_HW: Tensor, y_HW: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM's luminance term, and its contrast and structure, at each whole window.

    Wang et al. 2004, eq. 6 and the product of 9 and 10 with C3 = C2 / 2; of values less MID_GRAY.
    """
    moments = torch.stack([x_HW, y_HW, x_HW.square() + y_HW.square(), x_HW * y_HW])
    mean_x, mean_y, squares, products = _window_means(moments)
    variances = squares - mean_x.square() - mean_y.square()
    covariance = products - mean_x * mean_y
    mean_x, mean_y = mean_x + MID_GRAY, mean_y + MID_GRAY
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x.square() + mean_y.square() + SSIM_C1)
    return luminance, (2 * covariance + SSIM_C2) / (variances + SSIM_C2)


def _window_means(planes: Tensor) -> Tensor:
    """Gaussian means (..., H-10, W-10) over the windows wholly inside planes (..., H, W).

    As shifted sums: on a CPU some ten times as fast as a convolution of one channel.
    """
    half = SSIM_WINDOW_PIXELS // 2
    window = [math.exp(-((i - half) ** 2) / (2 * SSIM_SIGMA**2)) for i in range(2 * half + 1)]
    for axis in (-2, -1):
        num_windows = planes.shape[axis] - 2 * half
        shifted = [planes.narrow(axis, i, num_windows) for i in range(2 * half + 1)]
        means = shifted[half] * (window[half] / sum(window))
        for i in range(half):
            means.add_(shifted[i] + shifted[-1 - i], alpha=window[i] / sum(window))
        planes = means
    return planes


def _centred(planes: FloatPixels) -> Tensor:
    return torch.from_numpy(planes - np.float32(MID_GRAY))


_ON_Y: Final = (
    "on Y (BT.601 studio-range luma Y = 16 + 65.481 R + 128.553 G + 24.966 B, unrounded; "
    f"of a gray image the band itself times 255) with data range 255, {CROPPED}"
)
_ON_RGB: Final = f"of RGB, or the one band of a gray image, with data range 1, {CROPPED}"
_CAPPED: Final = f"capped at {PSNR_CAP_DB} dB, the value of identical images"
_WINDOW: Final = "Gaussian window 11x11 of sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance"

FULL_REFERENCE: Final = (
    Metric(
        name="psnr_y",
        definition=f"Peak signal-to-noise ratio in dB {_ON_Y}, {_CAPPED}.",
        better="higher",
        needs=("reference",),
        function=_psnr_y,
        bands=GRAY_OR_RGB,
    ),
    Metric(
        name="psnr_rgb",
        definition=f"Peak signal-to-noise ratio in dB {_ON_RGB}, {_CAPPED}.",
        better="higher",
        needs=("reference",),
        function=_psnr_bands,
        bands=GRAY_OR_RGB,
    ),
    Metric(
        name="psnr_all",
        definition=(
            "Peak signal-to-noise ratio in dB of the error over all bands, however many, with "
            f"data range 1, {CROPPED}, {_CAPPED}."
        ),
        better="higher",
        needs=("reference",),
        function=_psnr_bands,
    ),
    Metric(
        name="masked_psnr",
        definition=(
            "Peak signal-to-noise ratio in dB of the error over all bands of the lost pixels "
            f"alone (the mask scaled to the output), with data range 1, {CROPPED}, {_CAPPED}."
        ),
        better="higher",
        needs=("reference", "lost"),
        function=_masked_psnr,
    ),
    Metric(
        name="ssim_y",
        definition=(
            f"Structural similarity (Wang et al. 2004) {_ON_Y}, {_WINDOW}, "
            "averaged over the windows wholly inside the image."
        ),
        better="higher",
        needs=("reference",),
        function=_ssim_y,
        bands=GRAY_OR_RGB,
    ),
    Metric(
        name="ssim_rgb",
        definition=(
            f"Mean of the bands' structural similarities (Wang et al. 2004) {_ON_RGB}, {_WINDOW}, "
            "averaged over the windows wholly inside the image."
        ),
        better="higher",
        needs=("reference",),
        function=_ssim_rgb,
        bands=GRAY_OR_RGB,
    ),
    Metric(
        name="ms_ssim",
        definition=(
            f"Multi-scale structural similarity (Wang et al. 2003) {_ON_Y}, {_WINDOW}, "
            "averaged over the windows wholly inside the image, 5 scales halved by 2x2 means "
            "(the last line of an odd side dropped) with weights "
            f"{', '.join(map(str, MS_SSIM_WEIGHTS))}, negative terms as 0."
        ),
        better="higher",
        needs=("reference",),
        function=_ms_ssim_y,
        bands=GRAY_OR_RGB,
    ),
)
