"""The rectangle of values that can be measured."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.raster.rectangle import largest_valid_box
from ganray.raster.windows import Box, crop


@given(seed=st.integers(0, 10**6), height=st.integers(1, 7), width=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_no_box_of_values_is_larger(seed: int, height: int, width: int) -> None:
    valid = np.random.default_rng(seed).random((height, width)) < 0.7
    found = largest_valid_box(valid)
    boxes = [
        Box(top, left, bottom, right)
        for top in range(height)
        for left in range(width)
        for bottom in range(top + 1, height + 1)
        for right in range(left + 1, width + 1)
    ]
    largest = max((b.num_pixels for b in boxes if crop(valid[None], b).all()), default=0)
    assert found.num_pixels == largest
    assert crop(valid[None], found).all()


@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_of_a_large_image_it_is_found_on_multiples(multiple: int) -> None:
    valid = np.zeros((1000, 900), bool)
    valid[100:600, 200:800] = True
    found = largest_valid_box(valid, multiple)
    assert crop(valid[None], found).all()
    assert found.num_pixels > 0.9 * 500 * 600
    assert all(s % multiple == 0 for s in (found.top, found.left, found.bottom, found.right))
