"""What the figures of trust must say of restorations whose kind is known."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from ganray.evaluation.metric import Sample
from ganray.evaluation.trust import TRUST
from ganray.raster.resample import resize
from ganray.restoration import Restorer

METRICS = {metric.name: metric for metric in TRUST}
SHARES = ("improvement", "omission", "hallucination")
Pixels = npt.NDArray[np.float32]


def quantise(pixels: npt.NDArray[np.floating]) -> Pixels:
    return (np.round(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


def photograph(top: int = 0) -> Pixels:
    return quantise(data.astronaut()[top : top + 96, 180:276].transpose(2, 0, 1) / 255)


def sample(restored: Pixels, reference: Pixels, scale: int) -> Sample:
    degraded = quantise(resize(reference, 96 // scale, 96 // scale))
    return Sample(restored, reference, degraded, scale=scale)


def bicubic(reference: Pixels, scale: int) -> Pixels:
    return quantise(sample(reference, reference, scale).magnified)


def shares(what: Sample, crop: int = 0) -> list[float | None]:
    return [METRICS[name].measure(what, crop) for name in SHARES]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("top", [0, 60, 300])
def test_the_reference_is_all_improvement_and_bicubic_all_omission(top: int, scale: int) -> None:
    reference = photograph(top)
    assert shares(sample(reference, reference, scale)) == [1, 0, 0]
    assert shares(sample(bicubic(reference, scale), reference, scale)) == [0, 1, 0]


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    mix=st.floats(0, 1),
    noise=st.floats(0, 0.3),
    crop=st.integers(0, 5),
)
def test_the_shares_sum_to_one(seed: int, mix: float, noise: float, crop: int) -> None:
    reference = photograph()
    drawn = np.random.default_rng(seed).normal(0, noise, reference.shape)
    restored = quantise(mix * reference + (1 - mix) * bicubic(reference, 4) + drawn)
    found = shares(sample(restored, reference, 4), crop)
    assert sum(found) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in found)


@pytest.mark.parametrize("start", ["reference", "bicubic"])
def test_more_noise_is_more_hallucination(start: str) -> None:
    reference = photograph(60)
    image = reference if start == "reference" else bicubic(reference, 4)
    noise = np.random.default_rng(0).normal(0, 1, reference.shape)
    found = [
        METRICS["hallucination"].measure(sample(quantise(image + s * noise), reference, 4), 0)
        for s in (0, 0.02, 0.05, 0.1, 0.2)
    ]
    assert found == sorted(found) and found[0] == 0 and found[-1] > 0.8


def test_an_object_that_is_not_there_is_hallucinated_where_it_stands() -> None:
    reference = np.full((3, 96, 96), 0.5, np.float32)
    restored = reference.copy()
    restored[:, 10:20, 10:30] = 1
    assert shares(sample(restored, reference, 4)) == [0, 0, 1]


def test_shares_are_none_where_nothing_could_change() -> None:
    flat = np.full((3, 96, 96), 0.5, np.float32)
    assert shares(sample(flat, flat, 4)) == [None] * 3
    assert shares(sample(photograph(), photograph(), 4), crop=48) == [None] * 3


@pytest.mark.parametrize("bands", [1, 4])
def test_any_number_of_bands_is_measured(bands: int) -> None:
    reference = np.concatenate([photograph(), photograph(60)])[:bands]
    what = sample(quantise(reference + 0.1), reference, 2)
    assert all(METRICS[name].measure(what, 2) is not None for name in METRICS)


def test_consistency_and_drift_are_those_of_the_ledger() -> None:
    degraded = np.ascontiguousarray(data.coffee()[100:180, 100:190].transpose(2, 0, 1))
    result = Restorer.load("compact-x2").restore_with_trust(degraded)
    restored, seen = ((p / 255).astype(np.float32) for p in (result.pixels, degraded))
    what, trust = Sample(restored, degraded=seen, scale=2), result.trust
    found = {name: METRICS[name].measure(what, 2) for name in ("consistency", "colour_drift")}
    # The ledger's are of the result before it is rounded.
    assert found["consistency"] == pytest.approx(trust.consistency, abs=2e-4)
    assert found["colour_drift"] == pytest.approx(trust.colour_drift, abs=2e-4)


def test_what_was_lost_counts_in_neither_consistency_nor_drift() -> None:
    degraded = np.full((3, 8, 8), 0.5, np.float32)
    restored = degraded.repeat(2, 1).repeat(2, 2)
    lost = np.zeros((8, 8), bool)
    lost[:4] = True
    restored[:, :8] = 1.0
    restored[0, 8:] += np.float32(0.1)
    what = Sample(restored, degraded=degraded, lost=lost, scale=2)
    assert METRICS["consistency"].measure(what, 0) == pytest.approx(0.1 / 3, abs=1e-6)
    assert METRICS["colour_drift"].measure(what, 0) == pytest.approx(0.1, abs=1e-6)
    nothing = Sample(restored, degraded=degraded, lost=np.ones((8, 8), bool), scale=2)
    assert METRICS["consistency"].measure(nothing, 0) is None
    assert METRICS["colour_drift"].measure(nothing, 0) is None


@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(0.02, 0.2))
@settings(deadline=None, max_examples=10)
def test_a_shift_of_one_band_is_its_drift(seed: int, shift: float) -> None:
    degraded = 0.3 + 0.4 * np.random.default_rng(seed).random((3, 12, 12), np.float32)
    restored = degraded.repeat(4, 1).repeat(4, 2)
    restored[1] += np.float32(shift)
    what = Sample(restored, restored, degraded, scale=4)
    assert METRICS["colour_drift"].measure(what, 0) == pytest.approx(shift, abs=1e-5)
    assert METRICS["consistency"].measure(what, 0) == pytest.approx(shift / 3, abs=1e-5)


def test_low_frequencies_see_a_shift_and_hardly_a_pattern() -> None:
    reference = np.full((3, 64, 64), 0.5, np.float32)
    checks = np.indices((64, 64)).sum(0) % 2 * 0.4 - 0.2
    error = METRICS["low_frequency_error"]
    assert error.measure(Sample(quantise(reference + 0.2), reference), 0) == pytest.approx(
        0.2, abs=3e-3
    )
    assert error.measure(Sample(quantise(reference + checks), reference), 0) < 3e-3
    assert error.measure(Sample(reference[:, :3], reference[:, :3]), 0) is None
