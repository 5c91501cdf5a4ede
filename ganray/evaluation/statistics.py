"""How sure a mean over images is, and how two generators compare image by image."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, norm

from ganray.evaluation.metric import Better

Array = NDArray[np.float64]

NUM_RESAMPLES: Final = 2000
MANY_VALUES: Final = 2000
"""From here on the bootstrap of a mean and the normal interval are the same to three digits."""


@dataclass(frozen=True)
class Comparison:
    """Of the images that both measured: how many ours won, lost and tied, and ours − theirs.

    `difference` is the mean, `low` and `high` its interval; NaN where there is no image.
    """

    won: int
    lost: int
    tied: int
    difference: float
    low: float
    high: float


def bootstrap_interval(
    values: Sequence[float] | Array, *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The interval of the mean of finite values, by the bias-corrected bootstrap (Efron 1987).

    Of MANY_VALUES and more it is mean ± z·σ/√n, in flat memory. One value, or equal ones, are
    their own interval, and values so nearly equal that they have none reach from the smallest to
    the largest; of none it is (NaN, NaN).
    """
    sample = np.asarray(values, np.float64)
    if not sample.size:
        return math.nan, math.nan
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    if sample.size >= MANY_VALUES:
        reach = norm.ppf((1 + confidence) / 2) * sample.std(ddof=1) / math.sqrt(sample.size)
        return float(sample.mean() - reach), float(sample.mean() + reach)
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        # It is answered below.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            (sample,),
            np.mean,
            n_resamples=NUM_RESAMPLES,
            confidence_level=confidence,
            method="BCa",
            rng=np.random.default_rng(seed),
            batch=max(1, 2**20 // sample.size),
        ).confidence_interval
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return float(sample.min()), float(sample.max())
    return float(found.low), float(found.high)


def compare_pairs(
    ours: Sequence[float | None] | Array,
    theirs: Sequence[float | None] | Array,
    better: Better,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare values of the same images in the same order; None and NaN are left out."""
    # None becomes NaN.
    differences = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    differences = differences[~np.isnan(differences)]
    above, below = (int(np.count_nonzero(found)) for found in (differences > 0, differences < 0))
    won, lost = (above, below) if better == "higher" else (below, above)
    low, high = bootstrap_interval(differences, confidence=confidence, seed=seed)
    mean = float(differences.mean()) if differences.size else math.nan
    return Comparison(won, lost, differences.size - won - lost, mean, low, high)
