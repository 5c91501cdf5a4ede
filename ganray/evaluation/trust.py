"""Does a restoration stay true to what was seen, and is what it adds there in the reference?

In the manner of opensr-test (Aybar et al. 2024, "A comprehensive benchmark for optical remote
sensing image super-resolution"), without its alignment of colours and positions: what it would
correct counts as an error here.
"""

from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ganray.evaluation.metric import Metric, Sample, cut, cut_pair
from ganray.raster.image import FloatPixels
from ganray.raster.resample import resize

LOW_FREQUENCY_PIXELS: Final = 4
"""Side of the blocks, in degraded pixels, whose means are low frequencies."""
NOTICEABLE: Final = 2 / 255
"""Distances up to it leave a pixel out: rounding to 8 bits moves two images by half of it."""
STRICTNESS: Final = 0.05
"""λ, as opensr-test is configured: what is nearer to the reference than bicubic is improves it."""
SMALLEST_DISTANCE: Final = 1e-6

IMPROVEMENT, OMISSION, HALLUCINATION = range(3)


def _consistency(sample: Sample, _: int) -> float | None:
    """Mean |A(y) − d| of what was not lost; as the ledger has it, but of the quantised image."""
    departure = _departure(sample)
    return float(np.abs(departure).mean(dtype=np.float64)) if departure.size else None


def _colour_drift(sample: Sample, _: int) -> float | None:
    """Largest over the bands of |mean A(y) − mean d|, of what was not lost; as the ledger's."""
    departure = _departure(sample)
    return float(np.abs(departure.mean(1, dtype=np.float64)).max()) if departure.size else None


def _departure(sample: Sample) -> FloatPixels:
    """A(y) − d (C,N): the restored image, by area averaging, less the degraded one, at the N
    pixels that were not lost: from those that were nothing can depart."""
    assert sample.degraded is not None
    _, height, width = sample.degraded.shape
    departure: FloatPixels = resize(sample.restored, height, width, kernel="area") - sample.degraded
    known = np.ones((height, width), bool) if sample.lost is None else ~sample.lost
    return departure[:, known]


def _low_frequency_error(sample: Sample, crop: int) -> float | None:
    """Mean |A(y) − A(x)| over whole blocks; None where there is none."""
    side = LOW_FREQUENCY_PIXELS * sample.scale
    restored, reference = cut_pair(sample, crop)
    rows, columns = (length // side for length in restored.shape[1:])
    if not rows or not columns:
        return None
    error = (restored - reference)[:, : rows * side, : columns * side]
    means = resize(error, rows, columns, kernel="area")
    return float(np.abs(means).mean(dtype=np.float64))


def classify(sample: Sample, crop: int) -> NDArray[np.int64]:
    """What each pixel (N,) is that changed or should have: IMPROVEMENT, OMISSION, HALLUCINATION.

    With D(a,b) the mean of |a − b| over a pixel's bands, y the restored, x the reference and b the
    bicubic magnification of the degraded image, and the distances of Aybar et al. 2024, relative
    to what there was to improve,

        dᵢ = D(y,x) / D(b,x),   dₒ = D(y,b) / D(b,x),   H = dᵢ + dₒ − 1   (≥ 0)

    a pixel belongs to whichever is smallest of

        improvement    dᵢ + dₒ (1 − e^(−λH))
        omission       dₒ + dᵢ (1 − e^(−λH))
        hallucination  e^(−λ dᵢ dₒ)

    so y = x is improvement, y = b omission, and what is far from both hallucination. Left out are
    pixels where none of the three D exceeds NOTICEABLE.
    """
    restored, reference = cut_pair(sample, crop)
    bicubic = cut(sample.magnified, crop)
    distances = (_distance(restored, reference), _distance(restored, bicubic))
    possible = _distance(bicubic, reference)
    counts = np.maximum(np.maximum(*distances), possible) > NOTICEABLE
    improvable = np.maximum(possible[counts], SMALLEST_DISTANCE)
    d_i, d_o = (distance[counts] / improvable for distance in distances)
    excess = -np.expm1(-STRICTNESS * (d_i + d_o - 1))
    scores = np.stack([d_i + d_o * excess, d_o + d_i * excess, np.exp(-STRICTNESS * d_i * d_o)])
    smallest: NDArray[np.int64] = scores.argmin(0)
    return smallest


def _distance(one_CHW: FloatPixels, other_CHW: FloatPixels) -> FloatPixels:
    distance: FloatPixels = np.abs(one_CHW - other_CHW).mean(0)
    return distance


def _share(sample: Sample, crop: int, kind: int) -> float | None:
    kinds = classify(sample, crop)
    return float((kinds == kind).mean()) if kinds.size else None


_SHARE: Final = (
    "Share of the pixels that {what}, in the manner of opensr-test (Aybar et al. 2024): of the "
    "distances d_i from the reference and d_o from bicubic magnification, mean absolute over the "
    "bands and relative to the distance between these two, H = d_i + d_o - 1, the smallest of "
    "d_i + d_o (1 - exp(-λH)) (improvement), d_o + d_i (1 - exp(-λH)) (omission) and "
    f"exp(-λ d_i d_o) (hallucination), λ = {STRICTNESS}; pixels where no distance exceeds 2/255 "
    "are left out, and the three shares sum to 1; after a crop of `crop` pixels (the scale) from "
    "each border."
)

TRUST: Final = (
    Metric(
        name="consistency",
        definition=(
            "Mean absolute difference, all bands, values in 0 to 1, between the degraded image "
            "and the restored one brought back to its resolution by area averaging, of the pixels "
            "that no mask calls lost; no crop."
        ),
        better="lower",
        needs=("degraded",),
        function=_consistency,
    ),
    Metric(
        name="colour_drift",
        definition=(
            "Largest absolute difference between a band's means, values in 0 to 1, in the "
            "degraded and in the restored image, of the pixels that no mask calls lost; no crop."
        ),
        better="lower",
        needs=("degraded",),
        function=_colour_drift,
    ),
    Metric(
        name="low_frequency_error",
        definition=(
            "Mean absolute difference, all bands, values in 0 to 1, between the restored image "
            f"and the reference after both are averaged over blocks of {LOW_FREQUENCY_PIXELS}x"
            f"{LOW_FREQUENCY_PIXELS} degraded pixels (times the scale), after a crop of `crop` "
            "pixels (the scale) from each border."
        ),
        better="lower",
        needs=("reference",),
        function=_low_frequency_error,
    ),
    Metric(
        name="improvement",
        definition=_SHARE.format(what="came closer to the reference than bicubic is"),
        better="higher",
        needs=("reference", "degraded"),
        function=partial(_share, kind=IMPROVEMENT),
    ),
    Metric(
        name="omission",
        definition=_SHARE.format(what="stayed as bicubic has them where the reference differs"),
        better="lower",
        needs=("reference", "degraded"),
        function=partial(_share, kind=OMISSION),
    ),
    Metric(
        name="hallucination",
        definition=_SHARE.format(what="depart from both the reference and bicubic"),
        better="lower",
        needs=("reference", "degraded"),
        function=partial(_share, kind=HALLUCINATION),
    ),
)
