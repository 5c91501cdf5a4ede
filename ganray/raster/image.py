"""What an image is inside ganray: pixels and a profile."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike, NDArray

Pixels = NDArray[np.generic]
"""Pixels in their stored type, (C,H,W)."""

FloatPixels = NDArray[np.float32]
"""Pixels scaled to 0-1, (C,H,W)."""


ValueRange = tuple[float, float] | tuple[tuple[float, float], ...]
"""The stored values that are 0 and 1 to a generator: of all bands, or a pair for each."""


@dataclass(frozen=True)
class Profile:
    """All that an image is beside its pixels.

    `colorinterp` names each band as rasterio does: "gray", "red", "green", "blue", "alpha",
    "undefined". `resolution` is in pixels per inch. `lossless` says whether the stored bytes
    were. `value_range` are the stored values that are 0 and 1 to a generator, where the format
    says so, of all bands or a pair for each; None is the range of an unsigned type, and unknown
    for others. `nodata` is the
    stored value of pixels that are none. `details` is what only the codec's own `encode`
    understands: an immutable value of its own type.
    """

    codec: str
    dtype: str
    bit_depth: int
    colorinterp: tuple[str, ...]
    resolution: tuple[float, float] | None = None
    icc: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    lossless: bool = True
    lost: tuple[str, ...] = ()
    value_range: ValueRange | None = None
    nodata: float | None = None
    details: object = field(default=None, repr=False)

    @property
    def num_bands(self) -> int:
        return len(self.colorinterp)

    @property
    def alpha(self) -> int | None:
        """Index of the alpha band, if there is one."""
        return self.colorinterp.index("alpha") if "alpha" in self.colorinterp else None


@dataclass(frozen=True)
class Image:
    """Pixels (C,H,W) in the profile's dtype, their profile, and where they are valid.

    `mask` is (H,W), True where the image has a value; None is everywhere.
    """

    pixels: Pixels
    profile: Profile
    mask: NDArray[np.bool_] | None = None


def empty_pixels(bands: int, height: int, width: int, dtype: DTypeLike) -> Pixels:
    """Pixels (bands,height,width) to be filled, which lie in memory as codecs store them: all
    bands of a pixel side by side."""
    return np.moveaxis(np.empty((height, width, bands), dtype), -1, 0)


def to_float(pixels: Pixels) -> FloatPixels:
    """Scale unsigned integers to 0-1 by the largest value of their type."""
    largest = np.float32(np.iinfo(str(pixels.dtype)).max)
    scaled: FloatPixels = pixels.astype(np.float32)
    scaled /= largest
    return scaled


def from_float(pixels: FloatPixels, dtype: str) -> Pixels:
    """Inverse of `to_float`: clip to 0-1, scale, round to nearest.

    For 8 bits in float32, whose error is below a hundred-thousandth of a step; for 16 bits that
    error would show, and float64 is worth its memory.
    """
    scaled = np.clip(pixels, 0, 1).astype(
        np.float32 if dtype == "uint8" else np.float64, copy=False
    )
    np.multiply(scaled, np.iinfo(dtype).max, out=scaled)
    np.rint(scaled, out=scaled)
    return scaled.astype(dtype)
