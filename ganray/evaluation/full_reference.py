"""How close restored pixels are to the reference's: PSNR, SSIM, MS-SSIM, on Y and on RGB."""

import math
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import structural_similarity_index_measure

from ganray.evaluation.metric import CROPPED, Metric, Sample, cut, cut_pair
from ganray.raster.image import FloatPixels
from ganray.raster.resample import repeat

GRAY_OR_RGB: Final = (1, 3)
PSNR_CAP_DB: Final = 100.0
SSIM_WINDOW_PIXELS: Final = 11
# Four halvings must leave a window's width: 11 * 2**4.
MS_SSIM_MIN_SIDE_PIXELS: Final = 176
MS_SSIM_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

_similarity = partial(
    structural_similarity_index_measure,
    sigma=1.5,
    kernel_size=SSIM_WINDOW_PIXELS,
    data_range=255.0,
    k1=0.01,
    k2=0.03,
)

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
    if min(restored_CHW.shape[1:]) < SSIM_WINDOW_PIXELS:
        return None
    return _mean_similarity(*(torch.from_numpy(p)[None] for p in (restored_CHW, reference_CHW)))


def _ms_ssim_y(sample: Sample, crop: int) -> float | None:
    """MS-SSIM (Wang et al. 2003, "Multi-scale structural similarity", eq. 7).

    Not by torchmetrics' function of that name, whose last scale averages the windows that
    hang over the border: up to 0.006 off on photographs of 272 x 288 pixels.
    """
    planes = [luma(pixels) for pixels in cut_pair(sample, crop)]
    if min(planes[0].shape) < MS_SSIM_MIN_SIDE_PIXELS:
        return None
    restored, reference = (torch.from_numpy(plane)[None, None] for plane in planes)
    means = []
    for _ in MS_SSIM_WEIGHTS[:-1]:
        means.append(_mean_contrast(restored, reference))
        restored, reference = (avg_pool2d(plane, 2) for plane in (restored, reference))
    means.append(_mean_similarity(restored, reference))
    # A negative mean has no real power.
    powers = (max(mean, 0.0) ** w for mean, w in zip(means, MS_SSIM_WEIGHTS, strict=True))
    return float(math.prod(powers))


def _mean_similarity(restored_NCHW: Tensor, reference_NCHW: Tensor) -> float:
    """SSIM (Wang et al. 2004, "Image quality assessment", eq. 13), averaged over whole windows."""
    _, similarity_NCHW = _similarity(restored_NCHW, reference_NCHW, return_full_image=True)
    # torchmetrics' own mean takes in the windows that hang over the border, which shifts it
    # by up to 0.006 on photographs; the paper and scikit-image leave them out.
    half = SSIM_WINDOW_PIXELS // 2
    return float(similarity_NCHW[..., half:-half, half:-half].mean())


def _mean_contrast(restored_NCHW: Tensor, reference_NCHW: Tensor) -> float:
    """The contrast and structure terms of SSIM, averaged over whole windows."""
    _, contrast = _similarity(restored_NCHW, reference_NCHW, return_contrast_sensitivity=True)
    return float(contrast)


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
