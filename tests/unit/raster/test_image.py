from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.raster.image import Profile, from_float, to_float


def every_value(dtype: str) -> np.ndarray:
    return np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(1, 16, -1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_integer_survives_the_round_trip_through_float(dtype: str) -> None:
    pixels = every_value(dtype)
    scaled = to_float(pixels)
    assert scaled.dtype == np.float32 and scaled.min() == 0 and scaled.max() == 1
    restored = from_float(scaled, dtype)
    assert restored.dtype == dtype and np.array_equal(restored, pixels)


@settings(max_examples=60, deadline=None)
@given(st.floats(-2, 3, width=32), st.sampled_from(["uint8", "uint16"]))
def test_a_float_is_cut_to_the_range_and_rounded_to_nearest(value: float, dtype: str) -> None:
    largest = int(np.iinfo(dtype).max)
    stored = int(from_float(np.full((1, 1, 1), value, np.float32), dtype)[0, 0, 0])
    exact = min(max(Fraction(value), Fraction(0)), Fraction(1)) * largest
    assert abs(stored - exact) <= Fraction(1, 2) + Fraction(1, 2**16)


@pytest.mark.parametrize(
    ("bands", "alpha"),
    [
        (("gray",), None),
        (("gray", "alpha"), 1),
        (("red", "green", "blue"), None),
        (("red", "green", "blue", "alpha"), 3),
    ],
)
def test_a_profile_knows_its_bands(bands: tuple[str, ...], alpha: int | None) -> None:
    profile = Profile(codec="png", dtype="uint8", bit_depth=8, colorinterp=bands)
    assert (profile.num_bands, profile.alpha) == (len(bands), alpha)
