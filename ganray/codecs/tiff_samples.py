"""How a TIFF stores its samples: checked, and refused by name where ganray would not keep them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ganray.codecs.tiff_directories import TagValues
from ganray.codecs.tiff_tags import Code
from ganray.errors import UnsupportedImageError

NO_COMPRESSION, LZW, JPEG, DEFLATE = 1, 5, 7, 8
PACKBITS, OLD_DEFLATE, LZMA, ZSTD = 32773, 32946, 34925, 50000

_PREDICTED = (LZW, DEFLATE, OLD_DEFLATE, LZMA, ZSTD)
_COMPRESSIONS = (NO_COMPRESSION, JPEG, PACKBITS, *_PREDICTED)

NO_PREDICTOR, HORIZONTAL, FLOATING_POINT = 1, 2, 3

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR = 0, 1, 2, 6
_COLORS: Mapping[int, tuple[str, ...]] = {
    WHITE_IS_ZERO: ("gray",),
    BLACK_IS_ZERO: ("gray",),
    RGB: ("red", "green", "blue"),
    YCBCR: ("red", "green", "blue"),
}
_UNSPECIFIED, _UNASSOCIATED_ALPHA = 0, 2

_DTYPES = {(8, 1): "uint8", (16, 1): "uint16", (32, 3): "float32"}

_EXPECTED = (
    "expected a photograph: 8-bit, 16-bit or float gray or RGB, with or without alpha that is not "
    "multiplied in"
)


@dataclass(frozen=True)
class Samples:
    """How pixels become bytes; `photometric`, `compression` and `predictor` in TIFF's numbers.

    `order` is "<" or ">". `are_apart` says that each band has segments of its own.
    """

    bands: tuple[str, ...]
    dtype: str
    order: str
    photometric: int
    compression: int
    predictor: int
    are_apart: bool
    jpeg_tables: bytes | None = field(repr=False)

    @property
    def segment_bands(self) -> int:
        """How many bands one tile or strip holds."""
        return 1 if self.are_apart else len(self.bands)

    @property
    def pixel_bytes(self) -> int:
        """One pixel of a tile or strip, decoded."""
        return self.segment_bands * np.dtype(self.dtype).itemsize


def parse_samples(values: TagValues) -> Samples:
    """Read how samples are stored. Raises UndecodableError or UnsupportedImageError."""
    compression = values.number(Code.COMPRESSION, NO_COMPRESSION)
    if compression not in _COMPRESSIONS:
        raise UnsupportedImageError(
            f"TIFF compression {compression}; expected none, LZW, JPEG, deflate, PackBits, LZMA "
            "or Zstandard; save it with one of these first"
        )
    photometric = values.number(Code.PHOTOMETRIC)
    bands = _parse_bands(values, photometric, compression)
    dtype = _parse_dtype(values, len(bands), compression)
    if dtype == "float32" and photometric == WHITE_IS_ZERO:
        raise UnsupportedImageError(f"a TIFF of floats where white is 0; {_EXPECTED}")
    return Samples(
        bands=bands,
        dtype=dtype,
        order=values.order,
        photometric=photometric,
        compression=compression,
        predictor=_parse_predictor(values, compression),
        are_apart=values.number(Code.PLANAR_CONFIGURATION, 1) == 2 and len(bands) > 1,
        jpeg_tables=values.data(Code.JPEG_TABLES),
    )


def _parse_bands(values: TagValues, photometric: int, compression: int) -> tuple[str, ...]:
    num_bands = values.positive(Code.SAMPLES_PER_PIXEL, 1)
    colors = _COLORS.get(photometric)
    if colors is None or (photometric == YCBCR and compression != JPEG):
        raise UnsupportedImageError(
            f"a TIFF of photometric interpretation {photometric}; {_EXPECTED}"
        )
    apart = values.number(Code.PLANAR_CONFIGURATION, 1) == 2
    if num_bands == len(colors) and not (photometric == YCBCR and apart):
        return colors
    # RGBA that says nothing of its fourth band is common, and read as such everywhere.
    unsaid = [_UNASSOCIATED_ALPHA if len(colors) == 3 else _UNSPECIFIED]
    extra = values.all(Code.EXTRA_SAMPLES).tolist() or unsaid
    fits = photometric != YCBCR and (compression != JPEG or apart or len(colors) == 3)
    if num_bands == len(colors) + 1 and extra == [_UNASSOCIATED_ALPHA] and fits:
        return (*colors, "alpha")
    raise UnsupportedImageError(
        f"a TIFF of {num_bands} bands, of photometric interpretation {photometric} with extra "
        f"samples {extra[:8]}; {_EXPECTED}"
    )


def _parse_dtype(values: TagValues, num_bands: int, compression: int) -> str:
    # One value for all bands, and superfluous ones, are faults that every reader forgives.
    depths = values.for_bands(Code.BITS_PER_SAMPLE, num_bands)
    formats = values.for_bands(Code.SAMPLE_FORMAT, num_bands)
    dtype = None
    if len(set(depths)) == len(set(formats)) == 1:
        dtype = _DTYPES.get((depths[0], formats[0]))
    if dtype is None or (compression == JPEG and dtype != "uint8"):
        raise UnsupportedImageError(
            f"a TIFF of {'+'.join(map(str, depths))}-bit samples of format "
            f"{'+'.join(map(str, formats))}; {_EXPECTED}"
        )
    return dtype


def _parse_predictor(values: TagValues, compression: int) -> int:
    """The predictor; JPEG has none, whatever the tag says."""
    predictor = values.number(Code.PREDICTOR, NO_PREDICTOR)
    if compression == JPEG or predictor == NO_PREDICTOR:
        return NO_PREDICTOR
    if compression not in _PREDICTED or predictor not in (HORIZONTAL, FLOATING_POINT):
        raise UnsupportedImageError(
            f"a TIFF of predictor {predictor} with compression {compression}; save it anew first"
        )
    return predictor
