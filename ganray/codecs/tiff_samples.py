"""How a TIFF stores its samples: checked, refused by name, and decoded.

What is decoded is bounded by what the file says of its size, so that a few bytes cannot ask
for much memory. Data is right or raises: what is missing at its end is not filled up.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ganray.codecs.tiff_directories import TagValues
from ganray.codecs.tiff_tags import Code
from ganray.errors import UndecodableError, UnsupportedImageError

NO_COMPRESSION, LZW, JPEG, DEFLATE = 1, 5, 7, 8
PACKBITS, OLD_DEFLATE, LZMA, ZSTD = 32773, 32946, 34925, 50000

Decoder = Callable[[bytes, int], bytes]
"""Decodes at most that many bytes, and fails or stops where there are more."""

_DECODERS: Mapping[int, Decoder] = {
    NO_COMPRESSION: lambda data, most: data[:most],
    LZW: lambda data, most: bytes(imagecodecs.lzw_decode(data, out=most)),
    DEFLATE: lambda data, most: bytes(imagecodecs.deflate_decode(data, out=most)),
    OLD_DEFLATE: lambda data, most: bytes(imagecodecs.deflate_decode(data, out=most)),
    PACKBITS: lambda data, most: bytes(imagecodecs.packbits_decode(data, out=most)),
    LZMA: lambda data, most: bytes(imagecodecs.lzma_decode(data, out=most)),
    ZSTD: lambda data, most: bytes(imagecodecs.zstd_decode(data, out=most)),
}

NO_PREDICTOR, HORIZONTAL, FLOATING_POINT = 1, 2, 3
_PREDICTED = (LZW, DEFLATE, OLD_DEFLATE, LZMA, ZSTD)

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR = 0, 1, 2, 6
_COLORS: Mapping[int, tuple[str, ...]] = {
    WHITE_IS_ZERO: ("gray",),
    BLACK_IS_ZERO: ("gray",),
    RGB: ("red", "green", "blue"),
    YCBCR: ("red", "green", "blue"),
}
_UNSPECIFIED, _UNASSOCIATED_ALPHA = 0, 2

# Of four bands libjpeg has no other notion; it passes them on as they are.
_JPEG_COLORS = {
    1: imagecodecs.JPEG8.CS.GRAYSCALE,
    3: imagecodecs.JPEG8.CS.RGB,
    4: imagecodecs.JPEG8.CS.CMYK,
}

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
    if compression != JPEG and compression not in _DECODERS:
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


def decode_segment(
    samples: Samples, data: bytes, shape: tuple[int, int, int], num_rows: int
) -> NDArray[np.generic]:
    """Decode the first rows of a tile or strip of (H,W,C) samples, in native byte order.

    The last strip may hold fewer than H of them. Raises UndecodableError.
    """
    try:
        if samples.compression == JPEG:
            return _decode_jpeg(samples, data, shape, num_rows)
        most = shape[0] * shape[1] * samples.pixel_bytes
        decoded = _DECODERS[samples.compression](data, most)
    except (RuntimeError, ValueError) as error:
        raise UndecodableError(f"damaged TIFF data: {error}") from error
    least = num_rows * shape[1] * samples.pixel_bytes
    if len(decoded) < least:
        raise UndecodableError(
            f"damaged or truncated TIFF data: {len(decoded)} bytes decoded; expected {least}"
        )
    return _undo_predictor(samples, decoded[:least], (num_rows, *shape[1:]))


def _undo_predictor(
    samples: Samples, data: bytes, shape: tuple[int, int, int]
) -> NDArray[np.generic]:
    dtype = np.dtype(samples.dtype)
    if samples.predictor == FLOATING_POINT:
        # Its bytes are in an order of their own, whatever that of the file.
        return imagecodecs.floatpred_decode(np.frombuffer(data, dtype).reshape(shape), axis=-2)
    words = np.frombuffer(data, f"{samples.order}u{dtype.itemsize}").reshape(shape)
    native = words.astype(f"=u{dtype.itemsize}", copy=False)
    if samples.predictor == HORIZONTAL:
        native = imagecodecs.delta_decode(native, axis=-2)
    return native.view(dtype)


def _decode_jpeg(
    samples: Samples, data: bytes, shape: tuple[int, int, int], num_rows: int
) -> NDArray[np.generic]:
    height, width = _jpeg_size(samples, data)
    if not (num_rows <= height <= shape[0] and width == shape[1]):
        raise UndecodableError(
            f"a JPEG of {width}x{height} pixels in a TIFF; expected {shape[1]}x{num_rows}"
        )
    # libjpeg fills up with gray what is missing at the end, and says so to nobody.
    if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise UndecodableError("a JPEG in a TIFF that does not end: damaged or truncated")
    stored = _JPEG_COLORS[shape[2]]
    decoded = imagecodecs.jpeg8_decode(
        data,
        tables=samples.jpeg_tables,
        colorspace=imagecodecs.JPEG8.CS.YCbCr if samples.photometric == YCBCR else stored,
        outcolorspace=stored,
    )
    return decoded.reshape(height, *shape[1:])[:num_rows]


def _jpeg_size(samples: Samples, data: bytes) -> tuple[int, int]:
    """Height and width as the JPEG's own header has them, which is what its decoder allocates."""
    offset = 2
    while data[:2] == b"\xff\xd8" and offset + 10 <= len(data) and data[offset] == 0xFF:
        marker, length = struct.unpack(">BH", data[offset + 1 : offset + 4])
        if marker in (0xC0, 0xC1, 0xC2):
            depth, height, width, num_bands = struct.unpack(">BHHB", data[offset + 4 : offset + 10])
            if (depth, num_bands) != (8, samples.segment_bands):
                raise UndecodableError(f"a JPEG of {num_bands} bands of {depth} bits in a TIFF")
            return height, width
        if marker == 0xE0 and samples.photometric == RGB and not samples.are_apart:
            raise UnsupportedImageError(
                "JFIF, whose colours are YCbCr, in a TIFF that says RGB; save it anew first"
            )
        offset += 2 + length
    raise UndecodableError("TIFF data that is no JPEG, as it should be: damaged")


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
