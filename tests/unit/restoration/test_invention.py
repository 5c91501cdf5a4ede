"""What a restoration adds is invented where the input is the same without it, else denied."""

import numpy as np
import pytest

from ganray.raster.resample import resize
from ganray.restoration.invention import find_invention

SCALE = 2


@pytest.fixture
def degraded() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = resize(rng.uniform(0.3, 0.7, (3, 6, 8)).astype(np.float32), 24, 32)
    return np.clip(smooth, 0.2, 0.8)


@pytest.fixture
def magnified(degraded: np.ndarray) -> np.ndarray:
    return resize(degraded, 24 * SCALE, 32 * SCALE)


def test_bicubic_magnification_invents_nothing(degraded: np.ndarray, magnified: np.ndarray) -> None:
    found = find_invention(degraded, magnified)
    assert found.invented.shape == found.denied.shape == (24 * SCALE, 32 * SCALE)
    assert found.invented.max() == 0


def test_what_averages_out_in_every_block_is_invented_where_it_is(
    degraded: np.ndarray, magnified: np.ndarray
) -> None:
    rows, columns = np.indices((8, 8))
    pattern = np.where((rows + columns) % 2, 0.1, -0.1).astype(np.float32)
    restored = magnified.copy()
    restored[:, 16:24, 20:28] += pattern
    found, before = find_invention(degraded, restored), find_invention(degraded, magnified)
    assert found.invented[20, 24] == pytest.approx(0.1, rel=1e-4)
    assert found.invented[:8].max() == 0
    np.testing.assert_allclose(found.denied, before.denied, atol=1e-5)


def test_what_the_input_contradicts_is_denied_and_not_invented(
    degraded: np.ndarray, magnified: np.ndarray
) -> None:
    found = find_invention(degraded, magnified + np.float32(0.1))
    assert found.invented.max() < 1e-5
    assert found.denied.mean() == pytest.approx(0.1, abs=0.01)


def test_at_the_same_size_every_change_is_denied_and_none_invented(degraded: np.ndarray) -> None:
    restored = degraded.copy()
    restored[:, 10:14, 10:14] += 0.1
    found = find_invention(degraded, restored)
    assert found.invented.max() == 0
    assert found.denied.max() > 0.05
    assert found.denied[:4].max() == 0
