"""Which stored values of an image are 0 and 1 to a generator, in training and in restoration."""

from collections.abc import Iterator

import numpy as np

from ganray.errors import UnsupportedImageError
from ganray.raster.image import Profile, ValueRange

ValueRanges = tuple[tuple[float, float], ...]
"""The stored values that are 0 and 1 to a generator, band by band."""


def choose_ranges(profile: Profile) -> ValueRanges | None:
    """The stored values that are 0 and 1, band by band; None is all that an unsigned type holds.

    Raises UnsupportedImageError where nothing says what they are.
    """
    dtype = np.dtype(profile.dtype)
    if profile.value_range is None:
        if dtype.kind == "u":
            return None
        raise UnsupportedImageError(
            f"{profile.dtype} values of a {profile.codec} say of themselves neither black nor "
            "white; set geo.values=fixed with geo.low and geo.high, or geo.values=percentiles"
        )
    whole = (0.0, float(np.iinfo(dtype).max)) if dtype.kind == "u" else None
    ranges = tuple(_pairs(profile.value_range, profile, whole))
    for low, high in ranges:
        # Of float32, in which a generator works.
        ends = np.array([low, high], np.float32)
        if not np.isfinite(ends).all() or ends[0] >= ends[1]:
            raise UnsupportedImageError(
                f"its values {low:g} and {high:g} are to be black and white; expected two finite "
                "numbers that differ in float32"
            )
    return None if all(pair == whole for pair in ranges) else ranges


def _pairs(
    found: ValueRange, profile: Profile, whole: tuple[float, float] | None
) -> Iterator[tuple[float, float]]:
    """One pair for each band; of one that stands for all, alpha takes no part."""
    for band in range(profile.num_bands):
        pair = found[band] if len(found) != 2 or isinstance(found[0], tuple) else found
        assert isinstance(pair, tuple)
        low, high = pair
        assert isinstance(low, float | int) and isinstance(high, float | int)
        is_one_for_all = pair is found
        yield whole if whole and is_one_for_all and band == profile.alpha else (low, high)
