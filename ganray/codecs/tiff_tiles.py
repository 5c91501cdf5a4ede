"""One tile of a TIFF: how its pixels become bytes and come back, and how a level is halved.

Compression and predictor are those that libtiff, GDAL and Pillow read. Every function is
deterministic: equal pixels give equal bytes from the same library.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ganray.errors import UndecodableError
from ganray.raster.image import Pixels
from ganray.raster.validity import Mask, MaskedPixels, Validity

ScalarT = TypeVar("ScalarT", bound=np.generic)

COMPRESSIONS = {"none": 1, "deflate": 8, "zstd": 50000}
"""TIFF's number of each compression."""

DTYPES = ("uint8", "uint16", "int16", "float32")

# Of libdeflate, level 1 codes 2 to 4 times as fast as level 6 for at most a tenth more bytes; of
# zstd, level 1 is both faster than level 3 and, on grain, smaller.
_DEFLATE_LEVEL = 1
_ZSTD_LEVEL = 1

NO_PREDICTOR, _HORIZONTAL, _FLOATING_POINT = 1, 2, 3


def predictor(dtype: str, compression: str) -> int:
    """TIFF's number of the predictor: none where nothing is compressed, as libtiff has it."""
    if compression == "none":
        return NO_PREDICTOR
    return _FLOATING_POINT if dtype == "float32" else _HORIZONTAL


def encode_tile(pixels: Pixels, side: int, compression: str) -> bytes:
    """Encode (C,H,W) pixels as a tile; one that an edge cuts is filled up with its last pixels."""
    missing = (0, 0), (0, side - pixels.shape[1]), (0, side - pixels.shape[2])
    padded = np.pad(pixels, missing, mode="edge") if missing != ((0, 0),) * 3 else pixels
    return compress(interleave(padded), compression)


def decode_tile(data: bytes, shape: tuple[int, int, int], dtype: str, compression: str) -> Pixels:
    """Decode a tile of (C,side,side) pixels. Raises UndecodableError."""
    num_bands, height, width = shape
    return separate(decompress(data, (height, width, num_bands), dtype, compression))


def interleave(pixels: Pixels) -> NDArray[np.generic]:
    """(H,W,C) samples of (C,H,W) pixels.

    Unless they lie in memory like that, band by band: numpy takes several times as long for all
    at once.
    """
    if pixels.strides[0] == pixels.itemsize:
        samples = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
        # Anew, since numpy lets the strides of a side of one be anything, and coders do not.
        return samples.reshape(-1).reshape(samples.shape)
    samples = np.empty((*pixels.shape[1:], pixels.shape[0]), pixels.dtype)
    for band, plane in enumerate(pixels):
        samples[..., band] = plane
    return samples


def separate(samples: NDArray[np.generic]) -> Pixels:
    """Inverse of `interleave`."""
    pixels = np.empty((samples.shape[2], *samples.shape[:2]), samples.dtype)
    for band, plane in enumerate(pixels):
        plane[...] = samples[..., band]
    return pixels


def compress(samples: NDArray[np.generic], compression: str) -> bytes:
    """Encode (H,W,C) samples; each is predicted from its left neighbour."""
    kind = predictor(str(samples.dtype), compression)
    if kind == _HORIZONTAL:
        samples = imagecodecs.delta_encode(samples, axis=-2)
    elif kind == _FLOATING_POINT:
        samples = imagecodecs.floatpred_encode(samples, axis=-2)
    data = samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes()
    return _pack(data, compression)


def _pack(data: bytes, compression: str) -> bytes:
    if compression == "deflate":
        return bytes(imagecodecs.deflate_encode(data, level=_DEFLATE_LEVEL))
    return (
        bytes(imagecodecs.zstd_encode(data, level=_ZSTD_LEVEL)) if compression == "zstd" else data
    )


def decompress(
    data: bytes, shape: tuple[int, int, int], dtype: str, compression: str
) -> NDArray[np.generic]:
    """Inverse of `compress`. Raises UndecodableError."""
    data = _unpack(data, int(np.prod(shape)) * np.dtype(dtype).itemsize, compression)
    samples = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    kind = predictor(dtype, compression)
    if kind == _HORIZONTAL:
        return imagecodecs.delta_decode(samples, axis=-2)
    return imagecodecs.floatpred_decode(samples, axis=-2) if kind == _FLOATING_POINT else samples


def _unpack(data: bytes, num_bytes: int, compression: str) -> bytes:
    try:
        if compression == "deflate":
            data = bytes(imagecodecs.deflate_decode(data, out=num_bytes))
        elif compression == "zstd":
            data = bytes(imagecodecs.zstd_decode(data, out=num_bytes))
    except RuntimeError as error:
        raise UndecodableError(f"damaged {compression} data: {error}") from error
    if len(data) != num_bytes:
        raise UndecodableError(f"{len(data)} bytes of pixels; expected {num_bytes}")
    return data


def encode_mask_tile(mask: Mask, side: int, compression: str) -> bytes:
    """Encode a mask (H,W) as a tile of single bits; what an edge cuts off has no value."""
    missing = (0, side - mask.shape[0]), (0, side - mask.shape[1])
    return _pack(np.packbits(np.pad(mask, missing), axis=1).tobytes(), compression)


def decode_mask_tile(data: bytes, side: int, compression: str) -> Mask:
    """Decode a mask of (side,side) pixels. Raises UndecodableError."""
    data = _unpack(data, side * side // 8, compression)
    bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(side, side // 8), axis=1)
    return bits.astype(np.bool_)


def halve_masked(image: MaskedPixels, validity: Validity) -> MaskedPixels:
    """Half the size, of values alone: a pixel has none where none of its four has one."""
    valid = validity.bands(image.pixels, image.mask)
    halved = halve(image.pixels, valid)
    mask = None if image.mask is None else _counts(_even(image.mask[np.newaxis]))[0] > 0
    if valid is None:
        return MaskedPixels(validity.avoid(halved, None), mask)
    return MaskedPixels(validity.avoid(halved, _counts(_even(valid)) > 0), mask)


def halve(pixels: Pixels, valid: Mask | None = None) -> Pixels:
    """(C,H,W) pixels at half the size, rounded up: means of 2×2, at odd ends of what is there.

    Integers are rounded to nearest, halves up. Only what is `valid` (C,H,W) is averaged; where
    nothing is, the first of the four stays.
    """
    even = _even(pixels)
    if valid is not None:
        return _halve_valid(even, _even(valid))
    if even.dtype == np.float32:
        return _sums(even, np.dtype(np.float32)) * np.float32(0.25)
    return ((_sums(even, _WIDE[str(even.dtype)]) + 2) >> 2).astype(pixels.dtype)


def _halve_valid(pixels: Pixels, valid: Mask) -> Pixels:
    kept = np.where(valid, pixels, np.zeros((), pixels.dtype))
    counts = _counts(valid)
    divisors = np.maximum(counts, 1)
    sums = _sums(kept, _WIDE[str(pixels.dtype)])
    if pixels.dtype == np.float32:
        means = sums / divisors.astype(np.float32)
    else:
        means = (2 * sums + divisors) // (2 * divisors)
    halved: Pixels = np.where(counts > 0, means.astype(pixels.dtype), pixels[:, ::2, ::2])
    return halved


# Sums of four, twice as large, fit.
_WIDE: Mapping[str, np.dtype[Any]] = {
    "uint8": np.dtype(np.uint16),
    "uint16": np.dtype(np.uint32),
    "int16": np.dtype(np.int32),
    "float32": np.dtype(np.float32),
}


def _even(pixels: NDArray[ScalarT]) -> NDArray[ScalarT]:
    """With even sides: at an odd end the last pixels stand twice."""
    odd = pixels.shape[1] % 2, pixels.shape[2] % 2
    return np.pad(pixels, ((0, 0), (0, odd[0]), (0, odd[1])), mode="edge") if any(odd) else pixels


def _counts(valid: Mask) -> NDArray[np.uint8]:
    """How many of 2×2 are valid."""
    return _sums(valid, np.dtype(np.uint8))


def _sums(pixels: NDArray[np.generic], wide: np.dtype[Any]) -> NDArray[Any]:
    """Sums of 2×2 pixels in a type that holds them."""
    rows: NDArray[Any] = np.add(pixels[:, ::2], pixels[:, 1::2], dtype=wide)
    sums: NDArray[Any] = rows[:, :, ::2] + rows[:, :, 1::2]
    return sums
