"""Distances between sets against SciPy and torchmetrics; sums that workers share."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from ganray.evaluation import distribution as module
from ganray.evaluation.distribution import FeatureSums, frechet_distance, kernel_distance

Features = npt.NDArray[np.float64]


def draw(seed: int, number: int = 60, shift: float = 0) -> Features:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, (number, 5)) @ rng.normal(0, 1, (5, 5))


def sums(features: Features, prefix: str = "", seed: int = 0) -> FeatureSums:
    keys = [f"{prefix}{i}" for i in range(len(features))]
    return FeatureSums.empty(features.shape[1], seed).add(keys, features)


def test_parts_of_a_set_merge_to_the_whole_in_any_order() -> None:
    features = draw(0) + 1000
    keys = [str(i) for i in range(60)]
    whole = FeatureSums.empty(5).add(keys, features)
    parts = [
        FeatureSums.empty(5).add(keys[a:b], features[a:b]) for a, b in ((0, 7), (7, 8), (8, 60))
    ]
    merged = parts[2].merge(FeatureSums.empty(5)).merge(parts[0].merge(parts[1]))
    assert merged.count == 60
    np.testing.assert_allclose(merged.mean, features.mean(0))
    np.testing.assert_allclose(merged.covariance, np.cov(features, rowvar=False), rtol=1e-9)
    np.testing.assert_allclose(merged.covariance, whole.covariance, rtol=1e-9)
    assert merged.kept.keys() == whole.kept.keys()


def test_the_kept_images_are_the_same_whoever_saw_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_IMAGES", 10)
    features, keys = draw(0), [str(i) for i in range(60)]

    def kept(parts: list[tuple[int, int]], seed: int) -> set[str]:
        found = FeatureSums.empty(5, seed)
        for a, b in parts:
            found = found.merge(FeatureSums.empty(5, seed).add(keys[a:b], features[a:b]))
            assert len(found.kept) <= 10
        assert all(np.array_equal(f, features[int(key)]) for key, f in found.kept.items())
        return set(found.kept)

    assert kept([(0, 60)], 1) == kept([(40, 60), (0, 9), (9, 40)], 1)
    assert kept([(0, 60)], 1) != kept([(0, 60)], 2)


def test_the_frechet_distance_is_the_formula_by_scipys_root_and_torchmetrics() -> None:
    one, other = draw(0), draw(1, 80, shift=2)
    c1, c2 = (np.cov(features, rowvar=False) for features in (one, other))
    step = one.mean(0) - other.mean(0)
    expected = step @ step + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    found = frechet_distance(sums(one), sums(other)).value
    assert found == pytest.approx(expected, rel=1e-6)
    tensors = (torch.from_numpy(np.asarray(a)) for a in (one.mean(0), c1, other.mean(0), c2))
    assert found == pytest.approx(float(_compute_fid(*tensors)), rel=1e-6)


def test_known_gaussians_are_at_their_known_distance() -> None:
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T
    scale = (len(corners) - 1) / len(corners)
    # Covariance a² and b² times the identity: distance |m|² + 3 (a - b)².
    one, other = sums(2 * corners * scale**0.5), sums(5 * corners * scale**0.5 + 1)
    assert frechet_distance(one, other).value == pytest.approx(3 + 3 * 9)
    assert frechet_distance(one, one).value == pytest.approx(0, abs=1e-9)


def test_the_kernel_distance_of_different_images_is_that_of_torchmetrics() -> None:
    one, other = draw(0), draw(1, shift=0.5)
    expected = float(poly_mmd(torch.from_numpy(one), torch.from_numpy(other)))
    found = kernel_distance(sums(one, "a"), sums(other, "b")).value
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_set_is_at_no_kernel_distance_from_itself() -> None:
    assert kernel_distance(sums(draw(0)), sums(draw(0))).value == pytest.approx(0, abs=1e-9)


def test_sets_of_one_distribution_are_nearer_than_shifted_ones() -> None:
    rng = np.random.default_rng(0)
    one, same, moved = (rng.normal(m, 1, (200, 4)) for m in (0, 0, 1))
    for distance in (frechet_distance, kernel_distance):
        near, far = (distance(sums(one, "a"), sums(x, "b")).value for x in (same, moved))
        assert abs(near) < far / 5


def test_too_few_images_are_named_in_place_of_a_value() -> None:
    few, many = sums(draw(0, 5)), sums(draw(1))
    for distance, number in ((frechet_distance, "5"), (kernel_distance, "8")):
        found = distance(few, many)
        assert found.value is None
        assert found.reason.startswith("5 images; expected") and number in found.reason
    empty = FeatureSums.empty(5)
    assert frechet_distance(empty, many).value is None
    assert kernel_distance(empty, many).value is None
