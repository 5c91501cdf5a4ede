"""Which pixels of a raster have a value, and how those that have none stay as they are.

The rules are GDAL's. What has no value is never averaged, and its stored value comes through
unchanged; what has one never takes the value that says "none".
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ganray.raster.image import Pixels
from ganray.raster.resample import repeat
from ganray.raster.windows import Box, crop

Mask = NDArray[np.bool_]
"""True where there is a value; (H,W), or (C,H,W) where bands differ."""

# Two floats are the same to GDAL within so many times the sum of their magnitudes.
_SAME = np.float32(2 * np.finfo(np.float32).eps)
_APART = np.float32(1 - 2.0**-20)
"""A float times this is another one, by that measure, and nearer to 0."""


@dataclass(frozen=True)
class Validity:
    """What says where a raster has values. Floats that are not finite are none in any case.

    By kind: "everywhere"; "nodata", each band has none where it holds its own of `nodata`;
    "joint", no band has where all of them do; "mask", a mask beside the bands; "alpha", the
    others have none where band `alpha` is 0.
    """

    kind: Literal["everywhere", "nodata", "joint", "mask", "alpha"] = "everywhere"
    nodata: tuple[float, ...] = ()
    alpha: int | None = None

    def bands(self, pixels: Pixels, mask: Mask | None = None) -> Mask | None:
        """Where each band of (C,H,W) pixels has a value, (C,H,W); None if it has everywhere."""
        valid = self._marked(pixels, mask)
        if pixels.dtype.kind == "f":
            finite = np.isfinite(pixels)
            valid = finite if valid is None else valid & finite
        if valid is None or valid.all():
            return None
        everywhere: Mask = np.broadcast_to(valid, pixels.shape)
        return everywhere

    def _marked(self, pixels: Pixels, mask: Mask | None) -> Mask | None:
        if self.kind == "nodata":
            return ~self._holds_nodata(pixels)
        if self.kind == "joint":
            return ~np.logical_and.reduce(self._holds_nodata(pixels), axis=0, keepdims=True)
        if self.kind == "mask":
            return None if mask is None else mask[np.newaxis]
        if self.kind == "alpha":
            assert self.alpha is not None
            valid = np.repeat(pixels[self.alpha : self.alpha + 1] != 0, pixels.shape[0], 0)
            valid[self.alpha] = True
            return valid
        return None

    def _holds_nodata(self, pixels: Pixels) -> Mask:
        same = [_same(band, value) for band, value in zip(pixels, self.nodata, strict=True)]
        return np.stack(same)

    def avoid(self, pixels: Pixels, valid: Mask | None) -> Pixels:
        """(C,H,W) pixels of which those with a value do not hold nodata: they get the nearest."""
        if self.kind not in ("nodata", "joint"):
            return pixels
        hits = self._holds_nodata(pixels)
        if self.kind == "joint":
            # One band that differs is enough.
            hits = np.concatenate([hits.all(0, keepdims=True), np.zeros_like(hits[1:])])
        if valid is not None:
            hits &= valid
        if not hits.any():
            return pixels
        apart = pixels.copy()
        for band in np.flatnonzero(hits.any((1, 2))):
            apart[band][hits[band]] = _beside(self.nodata[band], pixels.dtype)
        return apart


EVERYWHERE = Validity()


@dataclass(frozen=True)
class MaskedPixels:
    """Pixels (C,H,W), and the mask (H,W) that says where they have a value; None is everywhere."""

    pixels: Pixels
    mask: Mask | None = None

    def crop(self, box: Box) -> "MaskedPixels":
        """The part inside `box`."""
        if self.mask is None:
            return MaskedPixels(crop(self.pixels, box))
        return MaskedPixels(crop(self.pixels, box), crop(self.mask[np.newaxis], box)[0])

    def stack(self) -> Pixels:
        """The mask as one more band of ones and zeros."""
        if self.mask is None:
            return self.pixels
        return np.concatenate([self.pixels, self.mask[np.newaxis].astype(self.pixels.dtype)])


def unstack(planes: Pixels, *, has_mask: bool) -> MaskedPixels:
    """Inverse of `MaskedPixels.stack`."""
    return MaskedPixels(planes[:-1], planes[-1] != 0) if has_mask else MaskedPixels(planes)


def pixel_mask(bands: Mask | None, validity: Validity) -> Mask | None:
    """From where bands have values to where pixels do, (H,W): in any band but alpha."""
    if bands is None:
        return None
    colour = [band for number, band in enumerate(bands) if number != validity.alpha]
    mask: Mask = np.logical_or.reduce(colour or list(bands))
    return None if mask.all() else mask


def hold(restored: Pixels, source: MaskedPixels, validity: Validity, scale: int) -> Pixels:
    """Restored pixels (C,scale·H,scale·W) that keep what had no value in their source (C,H,W).

    It stays what it was, magnified by repetition, and nothing else becomes nodata.
    """
    valid = validity.bands(source.pixels, source.mask)
    if valid is None:
        return validity.avoid(restored, None)
    large = repeat(valid, scale)
    return validity.avoid(np.where(large, restored, repeat(source.pixels, scale)), large)


def _same(band: NDArray[np.generic], value: float) -> Mask:
    """Where a band holds a value, as GDAL compares them."""
    if band.dtype.kind != "f":
        fits = value.is_integer() and np.iinfo(str(band.dtype)).min <= value
        fits = fits and value <= np.iinfo(str(band.dtype)).max
        return np.equal(band, int(value)) if fits else np.zeros(band.shape, np.bool_)
    nodata = np.float32(value)
    floats = band.astype(np.float32, copy=False)
    if np.isnan(nodata):
        return np.isnan(floats)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(floats - nodata) < _SAME * np.abs(floats + nodata)
    same: Mask = (floats == nodata) | near
    return same


def _beside(value: float, dtype: np.dtype[np.generic]) -> float:
    """The value nearest to nodata that is another one to GDAL."""
    if dtype.kind == "f":
        if value == 0:
            return float(np.finfo(np.float32).tiny)
        # Of two so large ones the sum is infinite, and GDAL takes them for the same.
        if abs(value) > np.finfo(np.float32).max / 4:
            return 0.0
        return float(np.float32(value) * _APART)
    return value + 1 if value < np.iinfo(str(dtype)).max else value - 1
