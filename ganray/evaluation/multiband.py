"""How close restored spectra are to the reference's, over any number of bands."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ganray.evaluation.metric import CROPPED, Metric, Sample, cut_pair
from ganray.raster.image import FloatPixels


def _spectral_angle(sample: Sample, crop: int) -> float | None:
    """Mean angle in degrees between the spectra x and y of a pixel, where neither is black.

    2 atan2(‖x‖y‖ − y‖x‖‖, ‖x‖y‖ + y‖x‖‖) (Kahan 2006, "How futile are mindless assessments of
    roundoff", section 12) in place of the arc cosine, which loses small angles. None for one
    band, and where no pixel is left.
    """
    if sample.bands < 2:
        return None
    restored, reference = cut_pair(sample, crop)
    lengths = _length(restored), _length(reference)
    num_known = np.count_nonzero(lengths[0] * lengths[1])
    if not num_known:
        return None
    x, y = restored * lengths[1], reference * lengths[0]
    # 0 where either is black.
    halves = np.arctan2(_length(x - y), _length(x + y))
    return float(np.degrees(2 * halves.sum(dtype=np.float64) / num_known))


def _length(spectra_CHW: FloatPixels) -> FloatPixels:
    length: FloatPixels = np.sqrt(np.square(spectra_CHW).sum(0))
    return length


def _ergas(sample: Sample, crop: int) -> float | None:
    """ERGAS = 100/s √(1/C Σ RMSE²/μ²), Wald 2000; None where a band of the reference is black."""
    restored, reference = cut_pair(sample, crop)
    if restored.size == 0:
        return None
    means = _band_means(reference)
    if not means.all():
        return None
    squared_errors = _band_means(np.square(restored - reference))
    return 100 / sample.scale * math.sqrt(np.mean(squared_errors / means**2))


def _band_means(pixels_CHW: FloatPixels) -> NDArray[np.float64]:
    means: NDArray[np.float64] = pixels_CHW.reshape(len(pixels_CHW), -1).mean(1, dtype=np.float64)
    return means


MULTIBAND: Final = (
    Metric(
        name="sam",
        definition=(
            "Spectral angle in degrees between the restored and the reference spectrum of a pixel "
            "(Kruse et al. 1993), over all bands, of which there must be two, averaged over the "
            f"pixels where neither is black, {CROPPED}."
        ),
        better="lower",
        needs=("reference",),
        function=_spectral_angle,
    ),
    Metric(
        name="ergas",
        definition=(
            "Relative dimensionless global error (ERGAS, Wald 2000): 100 / scale times the root "
            "of the bands' mean of (RMSE / mean of the reference)^2, over all bands, values in 0 "
            f"to 1, {CROPPED}."
        ),
        better="lower",
        needs=("reference",),
        function=_ergas,
    ),
)
