"""How close restored spectra are to the reference's, over any number of bands."""

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    spectral_angle_mapper,
)

from ganray.evaluation.metric import CROPPED, Metric, Sample, cut_pair


def _spectral_angle(sample: Sample, crop: int) -> float | None:
    """Mean angle in degrees between the spectra of a pixel, where neither is black.

    None for one band, and where no pixel is left.
    """
    if sample.bands < 2:
        return None
    restored, reference = _tensors(sample, crop)
    is_known_NHW = restored.any(1) & reference.any(1)
    if not is_known_NHW.any():
        return None
    angles_NHW = spectral_angle_mapper(restored, reference, reduction="none")
    return float(angles_NHW[is_known_NHW].mean().rad2deg())


def _ergas(sample: Sample, crop: int) -> float | None:
    """ERGAS = 100/s √(1/C Σ RMSE²/μ²), Wald 2000; None where a band of the reference is black."""
    restored, reference = _tensors(sample, crop)
    if not reference.numel() or not reference.flatten(2).any(2).all():
        return None
    return float(
        error_relative_global_dimensionless_synthesis(restored, reference, ratio=sample.scale)
    )


def _tensors(sample: Sample, crop: int) -> tuple[Tensor, Tensor]:
    """Both images (1,C,H,W), in float64: the arc cosine of float32 loses small angles."""
    restored, reference = (pixels.astype(np.float64) for pixels in cut_pair(sample, crop))
    return torch.from_numpy(restored)[None], torch.from_numpy(reference)[None]


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
