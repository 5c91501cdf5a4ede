"""NIQE against the paper's formulas, written out plainly for one block at a time."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import convolve, gaussian_filter
from scipy.special import gamma
from skimage import data

from ganray.errors import CheckpointError, ConfigError
from ganray.evaluation.naturalness import (
    NiqeModel,
    decode_niqe,
    encode_niqe,
    fit_niqe,
    niqe,
    shipped_niqe,
)
from ganray.raster.resample import resize

Pixels = npt.NDArray[np.float32]
SHIPPED = decode_niqe(shipped_niqe(), "shipped")


def photograph(name: str = "coffee") -> Pixels:
    return (getattr(data, name)().transpose(2, 0, 1) / 255).astype(np.float32)[:, :300, :400]


def plain_fit(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    shapes = np.arange(0.2, 10.001, 0.001)
    table = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    left = np.sqrt(np.mean(values[values < 0] ** 2))
    right = np.sqrt(np.mean(values[values > 0] ** 2))
    ratio = left / right
    spread = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    spread *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = shapes[np.argmin((table - spread) ** 2)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


def plain_features(block: npt.NDArray[np.float64]) -> list[float]:
    shape, left, right = plain_fit(block)
    features = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = plain_fit(block * np.roll(block, shift, (0, 1)))
        features += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return features


def plain_niqe(model: NiqeModel, image: Pixels) -> float:
    red, green, blue = image.astype(np.float64)
    plane = np.round(16 + 65.481 * red + 128.553 * green + 24.966 * blue)
    rows, columns = plane.shape[0] // 96, plane.shape[1] // 96
    plane = plane[: rows * 96, : columns * 96]
    line = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(line, line) / line.sum() ** 2
    blocks: list[list[float]] = [[] for _ in range(rows * columns)]
    for side in (96, 48):
        mean = convolve(plane, window, mode="nearest")
        deviation = np.sqrt(np.abs(convolve(plane**2, window, mode="nearest") - mean**2))
        normalised = (plane - mean) / (deviation + 1)
        for i, block in enumerate(blocks):
            top, left = i // columns * side, i % columns * side
            block += plain_features(normalised[top : top + side, left : left + side])
        half = (1, plane.shape[0] // 2, plane.shape[1] // 2)
        plane = resize(plane[None].astype(np.float32), *half[1:])[0].astype(np.float64)
    found = np.array(blocks)
    step = model.mean - found.mean(0)
    inverse = np.linalg.pinv((model.covariance + np.cov(found, rowvar=False)) / 2)
    return float(np.sqrt(step @ inverse @ step))


@pytest.mark.parametrize("name", ["coffee", "chelsea"])
def test_niqe_is_the_formula_of_the_paper(name: str) -> None:
    image = photograph(name)
    assert niqe(SHIPPED, image) == pytest.approx(plain_niqe(SHIPPED, image), rel=1e-4)


def test_damage_makes_a_photograph_less_natural() -> None:
    image = photograph()
    noise = np.random.default_rng(0).normal(0, 0.1, image.shape)
    for damaged in (gaussian_filter(image, (0, 2, 2)), np.clip(image + noise, 0, 1)):
        assert niqe(SHIPPED, damaged.astype(np.float32)) > 1.2 * niqe(SHIPPED, image)


def test_gray_is_its_own_luma_and_too_few_or_flat_blocks_are_none() -> None:
    image = photograph()
    assert niqe(SHIPPED, image[:1]) != niqe(SHIPPED, image)
    assert niqe(SHIPPED, image[:, :191, :191]) is None
    assert niqe(SHIPPED, image[:, :96, :192]) is not None
    assert niqe(SHIPPED, image[:, :20, :20]) is None
    assert niqe(SHIPPED, np.full((3, 300, 300), 0.5, np.float32)) is None


def test_a_flat_part_is_left_out_and_changes_nothing() -> None:
    image = photograph()[:, :192, :288]
    flat = np.concatenate([image, np.zeros((3, 192, 96), np.float32)], 2)
    assert np.isfinite(niqe(SHIPPED, flat))


def test_a_fitted_model_survives_its_file_and_knows_what_it_was_fitted_to() -> None:
    images = [photograph(name) for name in ("coffee", "chelsea", "astronaut")]
    rng = np.random.default_rng(0)
    many = [np.roll(image, rng.integers(0, 90, 2), (1, 2)) for image in images for _ in range(6)]
    model = fit_niqe(many)
    again = decode_niqe(encode_niqe(model), "it.npz")
    np.testing.assert_array_equal(again.mean, model.mean)
    np.testing.assert_array_equal(again.covariance, model.covariance)
    blurred = gaussian_filter(images[0], (0, 2, 2))
    assert niqe(model, images[0]) < niqe(model, blurred)
    with pytest.raises(ConfigError, match=r"sharp blocks.*more than 36"):
        fit_niqe(images[:1])


def test_another_file_is_refused_by_what_it_holds() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, mu_pris_param=np.zeros((1, 18)), cov_pris_param=np.eye(18))
    for content, found in ((buffer.getvalue(), r"\(1, 18\)"), (b"text", "no arrays")):
        with pytest.raises(CheckpointError, match=f"niqe.npz holds .*{found}.*expected"):
            decode_niqe(content, "niqe.npz")
