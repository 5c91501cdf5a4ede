"""The full-reference metrics: how close one restored image is to its reference.

Pixels are NumPy float32 arrays (C, H, W) in 0 to 1, with C = 1 (gray) or 3 (RGB). The caller
quantises both images first, as an encoder would, so that a metric judges what a file holds.
No-reference and feature-based metrics (LPIPS, FID), which need weights, are not here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import structural_similarity_index_measure

from ganray.errors import ConfigError, RestorationError, UnsupportedImageError

Pixels: TypeAlias = npt.NDArray[np.float32]
Planes: TypeAlias = npt.NDArray[np.float64]

PSNR_CAP_DB: Final = 100.0
SSIM_WINDOW_PIXELS: Final = 11
# Four halvings must leave a window's width: 11 * 2**4.
MS_SSIM_MIN_SIDE_PIXELS: Final = 176
MS_SSIM_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

_ssim = partial(
    structural_similarity_index_measure,
    sigma=1.5,
    kernel_size=SSIM_WINDOW_PIXELS,
    data_range=255.0,
    k1=0.01,
    k2=0.03,
)


@dataclass(frozen=True)
class Metric:
    """One number about a pair of images, and the sentence that says what it is."""

    name: str
    definition: str
    higher_is_better: bool
    measure: Callable[[Pixels, Pixels, int], float | None]
    """(restored_CHW, reference_CHW, crop) to the value; None where it is undefined."""


def measure_all(
    names: Sequence[str], restored_CHW: Pixels, reference_CHW: Pixels, *, crop: int
) -> dict[str, float | None]:
    """Measure one pair by each named metric, after cutting `crop` pixels from every border.

    The field's convention is a crop of the scale. A value is None where too little is left.
    Raises ConfigError on an unknown name or shapes that do not fit, RestorationError or
    UnsupportedImageError where restored or reference holds values outside 0 to 1 or NaN.
    """
    unknown = sorted(set(names) - METRICS.keys())
    if unknown:
        raise ConfigError(
            f"unknown metric {', '.join(unknown)}; choose from {', '.join(sorted(METRICS))}"
        )
    return {name: METRICS[name].measure(restored_CHW, reference_CHW, crop) for name in names}


def _psnr_y(restored_CHW: Pixels, reference_CHW: Pixels, crop: int) -> float | None:
    restored, reference = _crop_pair(restored_CHW, reference_CHW, crop)
    return _psnr(_luma(restored), _luma(reference), data_range=255.0)


def _psnr_rgb(restored_CHW: Pixels, reference_CHW: Pixels, crop: int) -> float | None:
    restored, reference = _crop_pair(restored_CHW, reference_CHW, crop)
    return _psnr(restored.astype(np.float64), reference.astype(np.float64), data_range=1.0)


def _psnr(restored: Planes, reference: Planes, *, data_range: float) -> float | None:
    """PSNR = 10 log10(range^2 / MSE) in dB, at most PSNR_CAP_DB because JSON has no infinity."""
    if restored.size == 0:
        return None
    mean_squared_error = float(np.mean(np.square(restored - reference)))
    if mean_squared_error == 0.0:
        return PSNR_CAP_DB
    return min(PSNR_CAP_DB, 10.0 * math.log10(data_range**2 / mean_squared_error))


def _ssim_y(restored_CHW: Pixels, reference_CHW: Pixels, crop: int) -> float | None:
    restored, reference = _crop_pair(restored_CHW, reference_CHW, crop)
    if min(restored.shape[1:]) < SSIM_WINDOW_PIXELS:
        return None
    return _mean_similarity(_luma_tensor(restored), _luma_tensor(reference))


def _ms_ssim(restored_CHW: Pixels, reference_CHW: Pixels, crop: int) -> float | None:
    """MS-SSIM (Wang et al. 2003, "Multi-scale structural similarity", eq. 7).

    Not by torchmetrics' function of that name, whose last scale averages the windows that
    hang over the border: up to 0.006 off on photographs of 272 x 288 pixels.
    """
    restored, reference = _crop_pair(restored_CHW, reference_CHW, crop)
    if min(restored.shape[1:]) < MS_SSIM_MIN_SIDE_PIXELS:
        return None
    restored_NCHW, reference_NCHW = _luma_tensor(restored), _luma_tensor(reference)
    terms = []
    for _ in MS_SSIM_WEIGHTS[:-1]:
        terms.append(_mean_contrast(restored_NCHW, reference_NCHW))
        restored_NCHW = avg_pool2d(restored_NCHW, 2)
        reference_NCHW = avg_pool2d(reference_NCHW, 2)
    terms.append(_mean_similarity(restored_NCHW, reference_NCHW))
    # A negative mean has no real power.
    powers = (max(term, 0.0) ** w for term, w in zip(terms, MS_SSIM_WEIGHTS, strict=True))
    return float(math.prod(powers))


def _mean_similarity(restored_NCHW: torch.Tensor, reference_NCHW: torch.Tensor) -> float:
    """SSIM (Wang et al. 2004, "Image quality assessment", eq. 13), averaged over whole windows."""
    _, similarity_NCHW = _ssim(restored_NCHW, reference_NCHW, return_full_image=True)
    # torchmetrics' own mean takes in the windows that hang over the border, which shifts it
    # by up to 0.006 on photographs; the paper and scikit-image leave them out.
    half = SSIM_WINDOW_PIXELS // 2
    return float(similarity_NCHW[..., half:-half, half:-half].mean())


def _mean_contrast(restored_NCHW: torch.Tensor, reference_NCHW: torch.Tensor) -> float:
    """The contrast and structure terms of SSIM, averaged over whole windows."""
    _, contrast = _ssim(restored_NCHW, reference_NCHW, return_contrast_sensitivity=True)
    return float(contrast)


def _crop_pair(restored_CHW: Pixels, reference_CHW: Pixels, crop: int) -> tuple[Pixels, Pixels]:
    """Check a pair and cut `crop` pixels from each border, down to an empty array."""
    assert crop >= 0, crop
    _check_shapes(restored_CHW, reference_CHW)
    _check_range(restored_CHW, "restored", RestorationError)
    _check_range(reference_CHW, "reference", UnsupportedImageError)
    _, height, width = reference_CHW.shape
    kept = (
        slice(None),
        slice(crop, max(crop, height - crop)),
        slice(crop, max(crop, width - crop)),
    )
    return restored_CHW[kept], reference_CHW[kept]


def _check_shapes(restored_CHW: Pixels, reference_CHW: Pixels) -> None:
    if restored_CHW.shape != reference_CHW.shape:
        raise ConfigError(
            f"the restored image has shape {restored_CHW.shape} and its reference "
            f"{reference_CHW.shape} (bands, height, width), expected the same; check that "
            "the two belong together and that the generator's scale is theirs"
        )
    if reference_CHW.ndim != 3 or reference_CHW.shape[0] not in (1, 3) or not reference_CHW.size:
        raise ConfigError(
            f"cannot measure images of shape {reference_CHW.shape}, expected (bands, height, "
            "width) with 1 band (gray) or 3 (RGB); select the bands to compare first"
        )


def _check_range(
    pixels_CHW: Pixels, role: str, error: type[RestorationError | UnsupportedImageError]
) -> None:
    lowest, highest = pixels_CHW.min(), pixels_CHW.max()
    # One NaN makes both extremes NaN, and every comparison with NaN is false.
    if not (lowest >= 0.0 and highest <= 1.0):
        raise error(
            f"the {role} image holds values from {lowest} to {highest}, expected finite values "
            "from 0 to 1; fill nodata and quantise both images before measuring"
        )


def _luma(pixels_CHW: Pixels) -> Planes:
    """Y (H, W) of ITU-R BT.601 in studio range, 16 to 235; one band is its own Y, 0 to 255."""
    planes_CHW: Planes = pixels_CHW.astype(np.float64)
    if len(planes_CHW) == 1:
        luma: Planes = 255.0 * planes_CHW[0]
    else:
        red, green, blue = planes_CHW
        luma = 16.0 + 65.481 * red + 128.553 * green + 24.966 * blue
    return luma


def _luma_tensor(pixels_CHW: Pixels) -> torch.Tensor:
    """Y as (1, 1, H, W); float32, since float64 convolution is some 50 times slower on a CPU."""
    return torch.from_numpy(_luma(pixels_CHW).astype(np.float32))[None, None]


_ON_Y: Final = (
    "on Y (BT.601 studio-range luma Y = 16 + 65.481 R + 128.553 G + 24.966 B, unrounded; "
    "of a gray image the band itself times 255) with data range 255, "
    "after a crop of `crop` pixels (the scale) from each border"
)
_CAPPED: Final = f"capped at {PSNR_CAP_DB} dB, the value of identical images"
_WINDOW: Final = "Gaussian window 11x11 of sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance"

METRICS: Final[dict[str, Metric]] = {
    "psnr_y": Metric(
        name="psnr_y",
        definition=f"Peak signal-to-noise ratio in dB {_ON_Y}, {_CAPPED}.",
        higher_is_better=True,
        measure=_psnr_y,
    ),
    "psnr_rgb": Metric(
        name="psnr_rgb",
        definition=(
            "Peak signal-to-noise ratio in dB of the error over all bands (RGB, or the one "
            "band of a gray image) with data range 1, after a crop of `crop` pixels (the "
            f"scale) from each border, {_CAPPED}."
        ),
        higher_is_better=True,
        measure=_psnr_rgb,
    ),
    "ssim_y": Metric(
        name="ssim_y",
        definition=(
            f"Structural similarity (Wang et al. 2004) {_ON_Y}, {_WINDOW}, "
            "averaged over the windows wholly inside the image."
        ),
        higher_is_better=True,
        measure=_ssim_y,
    ),
    "ms_ssim": Metric(
        name="ms_ssim",
        definition=(
            f"Multi-scale structural similarity (Wang et al. 2003) {_ON_Y}, {_WINDOW}, "
            "averaged over the windows wholly inside the image, 5 scales halved by 2x2 means "
            "(the last line of an odd side dropped) with weights "
            f"{', '.join(map(str, MS_SSIM_WEIGHTS))}, negative terms as 0."
        ),
        higher_is_better=True,
        measure=_ms_ssim,
    ),
}
