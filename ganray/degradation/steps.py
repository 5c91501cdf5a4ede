"""The steps of a degradation: each a pure function of pixels, its options and `rng`.

Pixels are float32 (C,H,W) in 0-1. NumPy and Pillow only, one thread: the same seed gives
the same bits whatever the number of workers or threads.
"""

import io
from typing import Annotated, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as PillowImage
from pydantic import AfterValidator, Field

from ganray.config import Section
from ganray.raster.image import FloatPixels, from_float, to_float
from ganray.raster.resample import resize

KernelName = Literal["area", "bilinear", "bicubic", "lanczos"]
Probability = Annotated[float, Field(ge=0, le=1)]


def _ascends(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"a range goes from the lower to the higher bound; found {bounds}")
    return bounds


NotNegative = Annotated[float, Field(ge=0)]
Quality = Annotated[int, Field(ge=1, le=100)]
Range = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_ascends)]
QualityRange = Annotated[tuple[Quality, Quality], AfterValidator(_ascends)]


class Blur(Section):
    """Gaussian blur, isotropic, borders reflected."""

    kind: Literal["blur"]
    sigma: Range
    """Range of the standard deviation, in reference pixels."""
    probability: Probability = 1.0


class Resample(Section):
    """Reduction to 1/scale of the reference by one of `kernels`, drawn evenly."""

    kind: Literal["resample"]
    kernels: tuple[KernelName, ...] = ("bicubic",)


class Noise(Section):
    """Additive Gaussian noise."""

    kind: Literal["noise"]
    sigma: Range
    """Range of the standard deviation, for pixels in 0-1."""
    gray_probability: Probability = 0.0
    """How often the noise is the same in all bands."""
    probability: Probability = 1.0


class Jpeg(Section):
    """JPEG compression and decompression; for 1 or 3 bands."""

    kind: Literal["jpeg"]
    quality: QualityRange
    """Range of the quality, 1-100."""
    probability: Probability = 1.0


class Quantise(Section):
    """Rounding to 8 bits, as a stored file has it."""

    kind: Literal["quantise"]


Step = Annotated[Blur | Resample | Noise | Jpeg | Quantise, Field(discriminator="kind")]


def apply_step(pixels: FloatPixels, step: Step, scale: int, rng: Generator) -> FloatPixels:
    """Apply one step, or leave `pixels` as they are, with the step's probability."""
    if isinstance(step, Blur | Noise | Jpeg) and rng.random() >= step.probability:
        return pixels
    match step:
        case Blur():
            return blur(pixels, rng.uniform(*step.sigma))
        case Resample():
            kernel = step.kernels[rng.integers(len(step.kernels))]
            return reduce(pixels, scale, kernel)
        case Noise():
            return add_noise(pixels, step, rng)
        case Jpeg():
            low, high = step.quality
            return compress_jpeg(pixels, int(rng.integers(low, high + 1)))
        case Quantise():
            return to_float(from_float(pixels, "uint8"))


def blur(pixels: FloatPixels, sigma: float) -> FloatPixels:
    """Separable Gaussian blur, cut off at three standard deviations."""
    radius = max(1, int(np.ceil(3 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-6)) ** 2)
    weights = (taps / taps.sum()).astype(np.float32)
    return _filter_axis(_filter_axis(pixels, weights, 1), weights, 2)


def reduce(pixels: FloatPixels, scale: int, kernel: KernelName) -> FloatPixels:
    """Antialiased reduction by `scale`, cut to 0-1."""
    if scale == 1:
        return pixels
    _, height, width = pixels.shape
    return np.clip(resize(pixels, height // scale, width // scale, kernel=kernel), 0, 1)


def add_noise(pixels: FloatPixels, options: Noise, rng: Generator) -> FloatPixels:
    """Gaussian noise of one standard deviation per image, cut to 0-1."""
    sigma = rng.uniform(*options.sigma)
    bands = 1 if rng.random() < options.gray_probability else pixels.shape[0]
    noise = rng.standard_normal((bands, *pixels.shape[1:]), np.float32)
    return np.clip(pixels + np.float32(sigma) * noise, 0, 1)


def compress_jpeg(pixels: FloatPixels, quality: int) -> FloatPixels:
    """What JPEG at `quality` leaves of the pixels."""
    stored = from_float(pixels, "uint8")
    picture = PillowImage.fromarray(stored[0] if len(stored) == 1 else np.moveaxis(stored, 0, -1))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    decoded = np.asarray(PillowImage.open(buffer))
    return to_float(decoded[np.newaxis] if decoded.ndim == 2 else np.moveaxis(decoded, -1, 0))


def _filter_axis(pixels: FloatPixels, weights: NDArray[np.float32], axis: int) -> FloatPixels:
    radius = len(weights) // 2
    length = pixels.shape[axis]
    padding = [(0, 0)] * 3
    padding[axis] = (radius, radius)
    padded = np.pad(pixels, padding, mode="reflect" if length > radius else "edge")
    filtered = np.zeros_like(pixels)
    for tap, weight in enumerate(weights):
        filtered += weight * np.take(padded, np.arange(tap, tap + length), axis=axis)
    return filtered
