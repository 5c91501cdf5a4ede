"""RLE Lossless of DICOM (PS3.5 annex G): a segment of PackBits per byte of every sample.

The most significant bytes come first; rows are packed each by itself.
"""

import struct

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ganray.errors import UndecodableError

RLE = "1.2.840.10008.1.2.5"
HEADER_BYTES = 64

RawBits = NDArray[np.unsignedinteger]
"""The bits that are allocated, whatever they mean, (C,H,W)."""


def decode_rle(frame: bytes, shape: tuple[int, int, int], num_bytes: int) -> RawBits:
    """Samples (C,H,W) of `num_bytes` each; `shape` is what the data set claims.

    Raises UndecodableError for a segment that is missing, or holds more or less.
    """
    if len(frame) < HEADER_BYTES:
        raise UndecodableError("truncated image: no header in its RLE frame")
    num_segments, *offsets = struct.unpack_from("<16L", frame)
    if num_segments != shape[0] * num_bytes:
        raise UndecodableError(
            f"{num_segments} RLE segments; the header needs {shape[0] * num_bytes}"
        )
    ends = [*offsets[1:num_segments], len(frame)]
    samples = np.zeros((shape[0], shape[1] * shape[2]), f"u{num_bytes}")
    for number, end in enumerate(ends):
        plane = samples[number // num_bytes]
        octets = _decode_segment(frame, offsets[number], end, len(plane))
        if number % num_bytes:
            plane <<= 8
        plane |= octets
    return samples.reshape(shape)


def _decode_segment(frame: bytes, begin: int, end: int, num_bytes: int) -> NDArray[np.uint8]:
    if not HEADER_BYTES <= begin <= end <= len(frame):
        raise UndecodableError(f"damaged image: an RLE segment from byte {begin} to {end}")
    octets = np.empty(num_bytes, np.uint8)
    try:
        decoded = imagecodecs.packbits_decode(frame[begin:end], out=octets.data)
    except imagecodecs.PackbitsError as error:
        raise UndecodableError(
            f"damaged image: an RLE segment that is too long ({error})"
        ) from None
    if len(decoded) != num_bytes:
        raise UndecodableError(
            f"truncated image: {len(decoded)} bytes in an RLE segment; expected {num_bytes}"
        )
    return octets


def encode_rle(samples: RawBits) -> bytes:
    """The frame of samples (C,H,W)."""
    num_bytes = samples.dtype.itemsize
    octets = samples.astype(samples.dtype.newbyteorder("<"), copy=False).view(np.uint8)
    octets = octets.reshape(*samples.shape, num_bytes)
    segments = [
        imagecodecs.packbits_encode(octets[sample, :, :, place].copy())
        for sample in range(len(samples))
        for place in reversed(range(num_bytes))
    ]
    padded = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    offsets = [HEADER_BYTES + sum(map(len, padded[:number])) for number in range(len(padded))]
    header = struct.pack("<16L", len(padded), *offsets, *[0] * (15 - len(padded)))
    return header + b"".join(padded)
