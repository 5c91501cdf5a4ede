import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.raster.image import FloatPixels
from ganray.raster.windows import Grid, crop
from ganray.restoration import guard
from ganray.restoration.guard import Trust, TrustMeter

few_examples = settings(max_examples=30, deadline=None)


def noise(bands: int, height: int, width: int, seed: int) -> FloatPixels:
    return np.random.default_rng(seed).random((bands, height, width), np.float32)


def magnify(pixels: FloatPixels, scale: int) -> FloatPixels:
    return pixels.repeat(scale, 1).repeat(scale, 2)


def measure(degraded: FloatPixels, restored: FloatPixels, scale: int) -> Trust:
    meter = TrustMeter(degraded.shape[0])
    add(meter, degraded, restored, scale)
    return meter.result()


def add(meter: TrustMeter, degraded: FloatPixels, restored: FloatPixels, scale: int) -> None:
    """Account for one window that is measured alone."""
    pair = (torch.from_numpy(np.ascontiguousarray(pixels))[None] for pixels in (degraded, restored))
    sums = guard.measure(*pair, scale)[0]
    assert sums[0] == 0
    meter.add_sums(list(range(degraded.shape[0])), sums.numpy(), degraded.size, restored.size)


shapes = st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12))


@few_examples
@given(shapes, st.integers(1, 4), st.integers(0, 99))
def test_an_image_that_was_only_magnified_is_trusted_entirely(
    shape: tuple[int, int, int], scale: int, seed: int
) -> None:
    degraded = noise(*shape, seed)
    trust = measure(degraded, magnify(degraded, scale), scale)
    assert (trust.consistency, trust.colour_drift) == pytest.approx((0, 0), abs=1e-6)
    assert trust.clipped == 0


@few_examples
@given(shapes, st.integers(1, 4), st.integers(0, 99))
def test_the_figures_are_their_definitions(
    shape: tuple[int, int, int], scale: int, seed: int
) -> None:
    bands, height, width = shape
    degraded = noise(*shape, seed)
    restored = 1.4 * noise(bands, height * scale, width * scale, seed + 1) - 0.2
    cut = np.clip(restored, 0, 1).astype(np.float64)
    brought_back = np.empty(shape)
    for row in range(height):
        for column in range(width):
            block = cut[:, row * scale : (row + 1) * scale, column * scale : (column + 1) * scale]
            brought_back[:, row, column] = block.mean(axis=(1, 2))
    drift = np.abs(cut.mean(axis=(1, 2)) - degraded.mean(axis=(1, 2), dtype=np.float64))
    outside = (restored < -0.5 / 255) | (restored > 1 + 0.5 / 255)
    trust = measure(degraded, restored, scale)
    assert trust.consistency == pytest.approx(np.abs(brought_back - degraded).mean(), abs=1e-5)
    assert trust.colour_drift == pytest.approx(drift.max(), abs=1e-5)
    assert trust.clipped == pytest.approx(outside.mean())


@few_examples
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 15), st.integers(1, 2))
def test_windows_add_up_to_the_whole_image(height: int, width: int, side: int, scale: int) -> None:
    degraded = noise(3, height, width, 0)
    restored = 1.2 * noise(3, height * scale, width * scale, 1) - 0.1
    meter = TrustMeter(3)
    for window in Grid(height, width, halo=0, patch_side=side, window_side=side).windows():
        cut = crop(degraded, window.core), crop(restored, window.core.scale(scale))
        add(meter, *cut, scale)
    whole = measure(degraded, restored, scale)
    assert meter.result().consistency == pytest.approx(whole.consistency, abs=1e-6)
    assert meter.result().colour_drift == pytest.approx(whole.colour_drift, abs=1e-6)
    assert meter.result().clipped == pytest.approx(whole.clipped)


def test_drifts_of_opposite_windows_cancel_and_departures_do_not() -> None:
    gray = np.full((1, 4, 4), 0.5, np.float32)
    meter = TrustMeter(1)
    add(meter, gray, gray + np.float32(0.1), 1)
    add(meter, gray, gray - np.float32(0.1), 1)
    assert meter.result().consistency == pytest.approx(0.1, abs=1e-6)
    assert meter.result().colour_drift == pytest.approx(0, abs=1e-6)


def test_the_band_that_drifts_most_counts() -> None:
    degraded = np.full((3, 4, 4), 0.5, np.float32)
    restored = degraded + np.float32([0.01, -0.2, 0.05])[:, None, None]
    assert measure(degraded, restored, 1).colour_drift == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize(
    ("value", "clipped"), [(1.001, 0), (-0.001, 0), (1.003, 1), (-0.003, 1), (0.0, 0), (1.0, 0)]
)
def test_float_noise_beyond_the_range_is_not_counted_as_clipped(
    value: float, clipped: float
) -> None:
    image = np.zeros((1, 2, 2), np.float32)
    assert measure(image, np.full((1, 2, 2), value, np.float32), 1).clipped == clipped


def test_what_was_lost_counts_in_no_departure() -> None:
    degraded, restored = noise(3, 6, 7, 0), noise(3, 12, 14, 1)
    lost = np.zeros((6, 7), bool)
    lost[2:5, 1:4] = True
    filled = np.where(lost, shrunk := restored.reshape(3, 6, 2, 7, 2).mean((2, 4)), degraded)
    pair = torch.from_numpy(degraded)[None], torch.from_numpy(restored)[None]
    sums = guard.measure(*pair, 2, lost_B1HW=torch.from_numpy(lost)[None, None].float())[0]
    departure = np.abs(filled - shrunk).sum()
    assert float(sums[1]) == pytest.approx(departure, rel=1e-5)
    assert float(guard.measure(*pair, 2)[0][1]) > departure + 1


def test_where_all_was_lost_there_is_no_departure() -> None:
    meter = TrustMeter(3)
    meter.add_sums([0, 1, 2], np.zeros(8, np.float32), 0, 12)
    assert (meter.result().consistency, meter.result().colour_drift) == (0, 0)


def test_only_what_is_kept_counts() -> None:
    degraded, restored = noise(3, 6, 7, 0), noise(3, 12, 14, 1)
    kept = torch.tensor([[1, 2, 5, 7]])
    sums = guard.measure(
        torch.from_numpy(degraded)[None], torch.from_numpy(restored)[None], 2, kept
    )[0]
    cut = guard.measure(
        torch.from_numpy(degraded[:, 1:5, 2:7].copy())[None],
        torch.from_numpy(restored[:, 2:10, 4:14].copy())[None],
        2,
    )[0]
    np.testing.assert_allclose(sums[:-2], cut[:-2], rtol=1e-5)
    assert sums[-2:].tolist() == pytest.approx([degraded.min(), degraded.max()])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kept", [None, torch.tensor([[0, 0, 2, 2], [3, 3, 5, 5]])])
def test_a_value_that_is_not_finite_is_seen_wherever_it_is(
    value: float, kept: torch.Tensor | None
) -> None:
    restored = np.stack([noise(3, 12, 14, seed) for seed in range(2)])
    restored[1, 2, 11, 13] = value
    degraded = torch.zeros(2, 3, 6, 7)
    assert guard.measure(degraded, torch.from_numpy(restored), 2, kept)[:, 0].tolist() == [0, 1]


def test_the_span_is_that_of_all_windows() -> None:
    meter = TrustMeter(1)
    for low, high in ((0.2, 0.3), (0.25, 0.6)):
        window = np.linspace(low, high, 16, dtype=np.float32).reshape(1, 4, 4)
        add(meter, window, window, 1)
    other = TrustMeter(1)
    other.merge(meter.as_dict())
    assert other.result().span == pytest.approx(0.4)
