"""From the bytes of a TIFF's tile or strip to its samples.

What is decoded is bounded by the size of the segment, so that a few bytes cannot ask for much
memory. Data is right or raises: what is missing at its end is not filled up.
"""

import io
import struct
from collections.abc import Callable, Mapping

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ganray.codecs.tiff_samples import (
    BLACK_IS_ZERO,
    DEFLATE,
    FLOATING_POINT,
    HORIZONTAL,
    JPEG,
    LZMA,
    LZW,
    NO_COMPRESSION,
    OLD_DEFLATE,
    PACKBITS,
    RGB,
    YCBCR,
    ZSTD,
    Samples,
)
from ganray.codecs.tiff_tags import Code, Kind, Tag, file_bytes, numbers_tag, pack_file
from ganray.errors import UndecodableError, UnsupportedImageError

Decoder = Callable[[bytes, int], bytes]
"""Decodes at most that many bytes, and fails or stops where there are more."""

_DECODERS: Mapping[int, Decoder] = {
    NO_COMPRESSION: lambda data, most: data[:most],
    DEFLATE: lambda data, most: bytes(imagecodecs.deflate_decode(data, out=most)),
    OLD_DEFLATE: lambda data, most: bytes(imagecodecs.deflate_decode(data, out=most)),
    LZMA: lambda data, most: bytes(imagecodecs.lzma_decode(data, out=most)),
    ZSTD: lambda data, most: bytes(imagecodecs.zstd_decode(data, out=most)),
}

# imagecodecs has decoders of its own for these; damaged LZW makes that of LZW crash.
_OF_LIBTIFF = (LZW, PACKBITS)

# Of four bands libjpeg has no other notion; it passes them on as they are.
_JPEG_COLORS = {
    1: imagecodecs.JPEG8.CS.GRAYSCALE,
    3: imagecodecs.JPEG8.CS.RGB,
    4: imagecodecs.JPEG8.CS.CMYK,
}


def decode_segment(
    samples: Samples, data: bytes, shape: tuple[int, int, int], num_rows: int
) -> NDArray[np.generic]:
    """Decode the first rows of a tile or strip of (H,W,C) samples, in native byte order.

    The last strip may hold fewer than H of them. Raises UndecodableError.
    """
    row_bytes = shape[1] * samples.pixel_bytes
    try:
        if samples.compression == JPEG:
            return _decode_jpeg(samples, data, shape, num_rows)
        if samples.compression in _OF_LIBTIFF:
            decoded = _decode_with_libtiff(samples.compression, data, num_rows, row_bytes)
        else:
            decoded = _DECODERS[samples.compression](data, shape[0] * row_bytes)
    except (RuntimeError, ValueError, OSError) as error:
        raise UndecodableError(f"damaged or truncated TIFF data: {error}") from error
    least = num_rows * row_bytes
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


def _decode_with_libtiff(compression: int, data: bytes, num_rows: int, row_bytes: int) -> bytes:
    """Decode through Pillow, as the one strip of a gray image of rows of bytes."""
    start = file_bytes([_strip_tags(compression, num_rows, row_bytes, 0, len(data))], big=False)
    tags = _strip_tags(compression, num_rows, row_bytes, start, len(data))
    # As in `photo.py`: the size has been checked against a limit of ours.
    PillowImage.MAX_IMAGE_PIXELS = None
    file = io.BytesIO(pack_file([tags], big=False) + data)
    with PillowImage.open(file, formats=("TIFF",)) as picture:
        return picture.tobytes()


def _strip_tags(
    compression: int, num_rows: int, row_bytes: int, start: int, num_bytes: int
) -> tuple[Tag, ...]:
    return (
        numbers_tag(Code.WIDTH, Kind.LONG, row_bytes),
        numbers_tag(Code.HEIGHT, Kind.LONG, num_rows),
        numbers_tag(Code.BITS_PER_SAMPLE, Kind.SHORT, 8),
        numbers_tag(Code.COMPRESSION, Kind.SHORT, compression),
        numbers_tag(Code.PHOTOMETRIC, Kind.SHORT, BLACK_IS_ZERO),
        numbers_tag(Code.STRIP_OFFSETS, Kind.LONG, start),
        numbers_tag(Code.ROWS_PER_STRIP, Kind.LONG, num_rows),
        numbers_tag(Code.STRIP_BYTE_COUNTS, Kind.LONG, num_bytes),
    )


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
