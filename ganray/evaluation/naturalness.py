"""Does an image look like a photograph, without a reference: NIQE (Mittal et al. 2013).

"Making a 'Completely Blind' Image Quality Analyzer", IEEE Signal Processing Letters 20(3).
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import gamma

from ganray.errors import CheckpointError, ConfigError
from ganray.evaluation.full_reference import luma
from ganray.models.arrays import is_npz, open_npz
from ganray.raster.image import FloatPixels
from ganray.raster.resample import resize

Array = NDArray[np.float64]

BLOCK_PIXELS: Final = 96
NUM_FEATURES: Final = 36
"""Of a block: 18 at full size and 18 at half."""
SHARPNESS: Final = 0.75
"""Blocks are fitted whose mean deviation is at least that share of the sharpest one's."""
WINDOW_SIGMA, WINDOW_RADIUS = 7 / 6, 3
SHIFTS: Final = ((0, 1), (1, 0), (1, 1), (1, -1))
SHIPPED: Final = "niqe-photographs.npz"


@dataclass(frozen=True)
class NiqeModel:
    """The features of undistorted photographs: `mean` (36,) and `covariance` (36,36)."""

    mean: Array
    covariance: Array


def niqe(model: NiqeModel, image_CHW: FloatPixels) -> float | None:
    """√((ν₁ − ν₂)ᵀ ((Σ₁ + Σ₂)/2)⁺ (ν₁ − ν₂)), Mittal et al. 2013, eq. 10; lower is more natural.

    Of Y of a gray or RGB image in 0-1, rounded to 8 bits. None of fewer than two blocks of 96x96
    pixels that are not flat.
    """
    features = [block for _, block in _blocks(image_CHW)]
    if len(features) < 2:
        return None
    found = np.array(features)
    departure = model.mean - found.mean(0)
    covariance = (model.covariance + np.cov(found, rowvar=False)) / 2
    return float(np.sqrt(departure @ np.linalg.pinv(covariance) @ departure))


def fit_niqe(images: Iterable[FloatPixels]) -> NiqeModel:
    """The model of undistorted photographs (C,H,W) in 0-1, by their sharp blocks; section II-C.

    No job fits one: this made the shipped model, as parameters/niqe-photographs.md says. Raises
    ConfigError where there are fewer such blocks than a covariance takes.
    """
    kept: list[Array] = []
    for image in images:
        blocks = list(_blocks(image))
        sharpest = max((sharpness for sharpness, _ in blocks), default=0.0)
        kept += [block for sharpness, block in blocks if sharpness >= SHARPNESS * sharpest]
    if len(kept) <= NUM_FEATURES:
        raise ConfigError(
            f"the images have {len(kept)} sharp blocks of {BLOCK_PIXELS}x{BLOCK_PIXELS} pixels; "
            f"expected more than {NUM_FEATURES}. Give more images, or larger ones"
        )
    features = np.array(kept)
    return NiqeModel(features.mean(0), np.cov(features, rowvar=False))


def encode_niqe(model: NiqeModel) -> bytes:
    """A .npz under BasicSR's names, as the shipped model is."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, mu_pris_param=model.mean[None], cov_pris_param=model.covariance)
    return buffer.getvalue()


def decode_niqe(data: bytes, source: str) -> NiqeModel:
    """The model in a .npz of ganray or BasicSR (`niqe_pris_params.npz`); raises CheckpointError."""
    arrays = open_npz(data, source) if is_npz(data) else {}
    shapes = {name: array.shape for name, array in arrays.items()}
    expected = {
        "mu_pris_param": (1, NUM_FEATURES),
        "cov_pris_param": (NUM_FEATURES, NUM_FEATURES),
    }
    if any(shapes.get(name) != shape for name, shape in expected.items()):
        raise CheckpointError(
            f"{source} holds {shapes or 'no arrays'}; expected a .npz of {expected}, as BasicSR "
            "stores NIQE's parameters"
        )
    mean, covariance = (arrays[name].astype(np.float64) for name in expected)
    return NiqeModel(mean[0], covariance)


def shipped_niqe() -> bytes:
    """The file of the model that comes with ganray; its card stands beside it."""
    return files("ganray.evaluation").joinpath("parameters", SHIPPED).read_bytes()


class Normalised(NamedTuple):
    """Eq. 1: values less their local mean, by their local deviation; and that deviation."""

    values: Array
    deviations: Array


def _blocks(image_CHW: FloatPixels) -> Iterator[tuple[float, Array]]:
    """Sharpness and features (36,) of each whole block; flat ones have none and are left out."""
    plane = np.round(luma(image_CHW)).astype(np.float64)
    rows, columns = (side // BLOCK_PIXELS for side in plane.shape)
    plane = plane[: rows * BLOCK_PIXELS, : columns * BLOCK_PIXELS]
    if not plane.size:
        return
    table = _shape_table()
    half = resize(plane[None].astype(np.float32), *(n // 2 for n in plane.shape))[0]
    whole, halved = _normalise(plane), _normalise(half.astype(np.float64))
    sharpness = _cut(whole.deviations, BLOCK_PIXELS).mean((1, 2))
    features = [
        _features(_cut(scaled.values, side), table)
        for scaled, side in ((whole, BLOCK_PIXELS), (halved, BLOCK_PIXELS // 2))
    ]
    for sharp, block in zip(sharpness, np.concatenate(features, 1), strict=True):
        if np.isfinite(block).all():
            yield float(sharp), block


def _normalise(plane: Array) -> Normalised:
    def smooth(values: Array) -> Array:
        smoothed: Array = gaussian_filter(
            values, WINDOW_SIGMA, radius=WINDOW_RADIUS, mode="nearest"
        )
        return smoothed

    means = smooth(plane)
    deviations = np.sqrt(np.abs(smooth(plane**2) - means**2))
    return Normalised((plane - means) / (deviations + 1), deviations)


def _cut(plane: Array, side: int) -> Array:
    """Blocks (N, side, side), row by row."""
    rows, columns = (length // side for length in plane.shape)
    blocks = plane.reshape(rows, side, columns, side).swapaxes(1, 2)
    return blocks.reshape(-1, side, side)


def _features(blocks: Array, table: tuple[Array, Array]) -> Array:
    """(N,18) of N blocks: the fits of their values, and of products of neighbours; section II-B."""
    shape, left, right = _fit(blocks, table)
    features = [shape, (left + right) / 2]
    for shift in SHIFTS:
        shape, left, right = _fit(blocks * np.roll(blocks, shift, (1, 2)), table)
        # Eq. 8.
        mean = (right - left) * gamma(2 / shape) / gamma(1 / shape)
        features += [shape, mean, left, right]
    return np.stack(features, 1)


def _fit(blocks: Array, table: tuple[Array, Array]) -> tuple[Array, Array, Array]:
    """α, βₗ, βᵣ of an asymmetric generalised Gaussian, eq. 4; by moments (Lasmar et al. 2009).

    Not finite where a block has no value of one sign.
    """
    values = blocks.reshape(len(blocks), -1)
    squares = values**2
    is_left, is_right = values < 0, values > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt((squares * is_left).sum(1) / is_left.sum(1))
        right = np.sqrt((squares * is_right).sum(1) / is_right.sum(1))
        ratio = left / right
        spread = np.abs(values).mean(1) ** 2 / squares.mean(1)
        spread *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes, spreads = table
    # The table ascends; what is nearest lies on one side or the other of where it would stand.
    above = np.clip(np.searchsorted(spreads, spread), 1, len(spreads) - 1)
    nearest = above - (spread - spreads[above - 1] < spreads[above] - spread)
    shape = shapes[nearest]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


def _shape_table() -> tuple[Array, Array]:
    """Shapes α and Γ(2/α)² / (Γ(1/α) Γ(3/α)), which ascends with them."""
    shapes = np.arange(0.2, 10.001, 0.001)
    return shapes, gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
