"""How floats become stored integers: in 8 bits with 32-bit arithmetic, which saves memory."""

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ganray.raster.image import FloatPixels, from_float, to_float

TIE = 2**-16
"""Twice the largest error of a product below 255 in float32, in steps of 8 bits."""


def exact(pixels: FloatPixels) -> np.ndarray:
    """The definition, in float64."""
    return np.clip(pixels.astype(np.float64), 0, 1) * 255


def assert_rounds_as_in_float64(pixels: FloatPixels) -> None:
    steps = exact(pixels)
    stored = from_float(pixels, "uint8")
    differs = stored != np.rint(steps)
    assert stored.dtype == np.uint8
    assert (np.abs(stored[differs] - steps[differs]) <= 0.5 + TIE).all()


def test_every_8_bit_value_comes_back_exactly_and_so_do_its_neighbours() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    scaled = to_float(values)
    for near in (scaled, np.nextafter(scaled, np.float32(-1)), np.nextafter(scaled, np.float32(2))):
        assert np.array_equal(from_float(near, "uint8"), values)


def test_random_floats_differ_from_float64_at_ties_only() -> None:
    assert_rounds_as_in_float64(
        np.random.default_rng(0).uniform(-0.2, 1.2, (3, 1000, 1000)).astype(np.float32)
    )


def test_floats_beside_every_tie_differ_from_float64_at_ties_only() -> None:
    ties = ((np.arange(255) + 0.5) / 255).astype(np.float32).reshape(1, 15, 17)
    for _ in range(4):
        assert_rounds_as_in_float64(ties)
        ties = np.nextafter(ties, np.float32(2))


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.float32, (1, 4, 4), elements=st.floats(-2, 3, width=32)))
def test_any_floats_differ_from_float64_at_ties_only(pixels: FloatPixels) -> None:
    assert_rounds_as_in_float64(pixels)


def test_the_input_stays_untouched() -> None:
    pixels = np.full((1, 2, 2), 0.25, np.float32)
    pixels.setflags(write=False)
    assert (from_float(pixels, "uint8") == 64).all()
    assert (from_float(pixels, "uint16") == 16384).all()


def test_8_bits_need_little_memory_beside_the_input() -> None:
    pixels = np.zeros((3, 512, 512), np.float32)
    tracemalloc.start()
    from_float(pixels, "uint8")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # One copy in float32, and the result.
    assert peak < 6 * pixels.size
