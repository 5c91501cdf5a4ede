"""How an image's bands and values are shown to a generator: an image of N bands, one of few."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from ganray.errors import RestorationError, UnsupportedImageError
from ganray.raster.image import Profile, ValueRange
from ganray.restoration.canvas import Part
from ganray.restoration.generator import ValueRanges

Bands = Literal["all", "each"] | tuple[int, ...]
"""`all` bands but alpha at once, `each` by itself, or those of these numbers, from 1."""


def choose_parts(profile: Profile, bands: Bands, expected: int) -> tuple[Part, ...]:
    """The parts that a generator for `expected` bands restores, or that are only magnified.

    The alpha of a raster is a mask and is repeated, that of a picture restored as gray. Raises
    RestorationError if its bands do not fit.
    """
    alpha = profile.alpha
    colour = tuple(band for band in range(profile.num_bands) if band != alpha)
    is_mask = profile.codec == "geotiff"
    behind = () if alpha is None else (Part((alpha,), "repeat" if is_mask else "restore"),)
    if bands == "each":
        return (*(Part((band,)) for band in colour), *behind)
    if bands == "all":
        require_bands(len(colour), expected)
        return (Part(colour), *behind)
    chosen = tuple(number - 1 for number in bands)
    unknown = [number for number in bands if number - 1 not in colour]
    if unknown or len(set(chosen)) < len(chosen) or len(chosen) not in (1, expected):
        raise RestorationError(
            f"bands={list(bands)} of an image with {len(colour)} bands besides alpha, for a "
            f"generator of {expected}; expected {expected} different numbers from 1 to "
            f"{len(colour)}"
        )
    rest = tuple(band for band in colour if band not in chosen)
    return (Part(chosen), *((Part(rest, "magnify"),) if rest else ()), *behind)


def require_bands(bands: int, expected: int) -> None:
    """Raise RestorationError unless a generator for `expected` bands takes this many of colour."""
    if bands not in (1, expected):
        raise RestorationError(
            f"the image has {bands} colour bands and the generator takes {expected} (or gray); "
            f"of a raster say which it gets, such as geo.bands=[4,3,2] or geo.bands=each, name an "
            f"alpha band by alpha=, or choose a generator for {bands} bands"
        )


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
